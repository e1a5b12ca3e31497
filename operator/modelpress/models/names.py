"""Names that tell tensors and weights apart where a model repeats some."""

from collections.abc import Iterable
from itertools import count


def unique(names: Iterable[str]) -> list[str]:
    """Return the names with repeated ones numbered, as Keras numbers its layers.

    The first of equal names keeps it; each other one gets the first suffix that makes a name of no other.
    """
    given = list(names)
    taken = set(given)
    used: set[str] = set()
    suffixes: dict[str, Iterable[int]] = {}  # one count for each name: a suffix that is taken stays so
    result = []
    for name in given:
        if name in used:
            numbered = (f"{name}_{number}" for number in suffixes.setdefault(name, count(1)))
            found = next(candidate for candidate in numbered if candidate not in taken)
        else:
            found = name
        taken.add(found)
        used.add(found)
        result.append(found)
    return result
