"""Whether an object says what is desired, by its values: for objects of which nobody records who set what.

The API server adds defaults, leaves out empty values and rewrites quantities ("1000m" is "1"): that is no
drift. Everything that is desired must be there; lists must have the same length, so that an added
container or variable is found; selectors must be equal.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from modelpress.planning.children.managed_fields import is_empty
from modelpress.planning.types import Body

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"^([+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?|[+-]?[0-9]+\.)(n|u|m|k|[KMGTPE]i?|)$")
_QUANTITIES = ("limits", "requests", "sizeLimit", "divisor")
# The server adds nothing to these, and one key more would select something else.
_EXACT = ("selector", "matchLabels", "nodeSelector")
# Other owners than our controller reference are nobody's business.
_CONTAINED = ("ownerReferences",)


def differs(desired: Body, observed: Body) -> bool:
    """Return whether `observed` lacks or changes something that `desired` says."""
    return not _says(desired, observed, "")


def _says(desired: Any, observed: Any, key: str) -> bool:
    if observed is None:
        return is_empty(desired)
    if isinstance(desired, Mapping):
        return isinstance(observed, Mapping) and _says_object(desired, observed, key)
    if isinstance(desired, list | tuple):
        return isinstance(observed, list | tuple) and _says_list(desired, observed, key)
    if key in _QUANTITIES:
        return _same_quantity(desired, observed)
    # True == 1 in Python, not in JSON
    return bool(desired == observed) and isinstance(desired, bool) == isinstance(observed, bool)


def _says_object(desired: Mapping[str, Any], observed: Mapping[str, Any], key: str) -> bool:
    if key in _EXACT and set(observed) - set(desired):
        return False
    below = key if key in _QUANTITIES else None
    return all(_says(value, observed.get(name), below or name) for name, value in desired.items())


def _says_list(desired: Sequence[Any], observed: Sequence[Any], key: str) -> bool:
    if key in _CONTAINED:
        return all(any(_says(want, have, "") for have in observed) for want in desired)
    return len(desired) == len(observed) and all(
        _says(want, have, "") for want, have in zip(desired, observed, strict=True)
    )


def _same_quantity(desired: Any, observed: Any) -> bool:
    first, second = _quantity(desired), _quantity(observed)
    return first == second if first is not None and second is not None else bool(desired == observed)


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.match(str(value))
    return Decimal(match[1]) * _SUFFIXES[match[2]] if match else None
