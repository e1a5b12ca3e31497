"""Text of others on its way to a terminal: names, messages and files may hold what a terminal obeys.

Whatever is shown of a manifest, an artifact, a log or an answer passes here, at the edge. Pure.
"""

_CUT = "..."


def printable(text: str, *, keep: str = "", limit: int | None = None) -> str:
    r"""Return text without characters that a terminal obeys, hides or reorders: they are written as \x1b.

    These are control characters (escape sequences begin with one), the marks that turn the direction of
    writing, other invisible ones, and halves of surrogate pairs. Characters of `keep` stay. What is longer
    than `limit` is cut.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - len(_CUT)] + _CUT
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else _escaped(letter) for letter in text)


def printable_json(text: str) -> str:
    r"""Return the same JSON, in which such characters are escaped as JSON does: they are in strings only."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in " \t\r\n" else _escaped_in_json(letter) for letter in text
    )


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _escaped_in_json(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
