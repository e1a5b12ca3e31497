"""Which batch sizes are compiled: powers of two and the largest one.

XLA compiles a program for each shape, which takes seconds; so batches are padded to a few sizes that are all
compiled before the worker is ready.
"""


def padded_sizes(most: int) -> list[int]:
    """Return the sizes for batches of 1..`most` rows: padded_sizes(48) is [1, 2, 4, 8, 16, 32, 48]."""
    sizes = []
    size = 1
    while size < most:
        sizes.append(size)
        size *= 2
    return [*sizes, most]


def padded(rows: int, sizes: list[int]) -> int:
    """Return the smallest of the sizes that holds `rows` rows. Raises ValueError where none does."""
    found = next((size for size in sizes if size >= rows), None)
    if found is None:
        raise ValueError(f"a batch of {rows} rows is larger than the largest compiled one, {sizes[-1]}")
    return found
