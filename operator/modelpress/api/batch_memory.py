"""The memory that a batch may take: workers' limits hold it, and long inputs are refused beyond it."""

_BYTES, _ROWS = 512 * 2**20, 32


def of(rows: int) -> int:
    """Return the bytes for a batch of one copy of a model: 512 MiB, above 32 rows in proportion."""
    return _BYTES * max(_ROWS, rows) // _ROWS
