"""Counts the values of a JSON text before it is read: some bytes of it can become a hundred in memory."""


def count(text: str | bytes | bytearray) -> int:
    """Return how many values a text of JSON has at most, in a pass that keeps nothing."""
    if isinstance(text, str):
        return sum(text.count(mark) for mark in "[{,:")
    return sum(text.count(mark) for mark in (b"[", b"{", b",", b":"))
