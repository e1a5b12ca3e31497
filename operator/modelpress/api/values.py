"""Scalar types of the resource: each carries its OpenAPI schema, so that the CRD states what is accepted.

Patterns are CEL rules, not `pattern`: the API server then answers with a sentence instead of a regular
expression. The parsers below read the values after they passed those rules.
"""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import WithJsonSchema

# Two digits of exponent: within 32 characters no value overflows a double.
DECIMAL = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$"
PERCENT = r"^-?[0-9]{1,4}([.][0-9]{1,6})?%$"
CLAIM = "pvc://"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_CLAIM_NAME = f"{_LABEL}([.]{_LABEL})*"
_STEPS = f"^{CLAIM}[^/]+(/[^ ]*)?/([.]{{0,2}}/|[.]{{1,2}}$)"  # a name in the path that is empty, . or ..
_CLAIM_MESSAGE = (
    "must be pvc://CLAIM/PATH: the name of a PersistentVolumeClaim, and a path in it without //, /./ and /../"
)
_NAME_LENGTH = 253  # the longest name of an object in Kubernetes
_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_BYTES = re.compile(r"^([0-9]+(?:\.[0-9]+)?)([kMGT]?|[KMGT]i)$")


def rule(expression: str, message: str, field: str | None = None) -> dict[str, str]:
    """One entry of `x-kubernetes-validations`; `field` is a path below the object that carries the rule."""
    entry = {"rule": expression, "message": message}
    if field:
        entry["fieldPath"] = field
    return entry


def text(max_length: int, *rules: dict[str, str], min_length: int = 1) -> dict[str, Any]:
    """Schema of a bounded string, with rules."""
    schema: dict[str, Any] = {"type": "string", "minLength": min_length, "maxLength": max_length}
    if rules:
        schema["x-kubernetes-validations"] = list(rules)
    return schema


Name = Annotated[str, WithJsonSchema(text(_NAME_LENGTH))]
Uri = Annotated[
    str,
    WithJsonSchema(
        text(
            2048,
            rule(
                "self.matches('^(s3|gs|az|hf|http|https|pvc)://[^/ ]+/?[^ ]*$')",
                "must be a URI such as s3://bucket/path, of scheme s3, gs, az, hf, http, https or pvc",
            ),
            rule(
                f"!self.startsWith('{CLAIM}') || (self.matches('^{CLAIM}{_CLAIM_NAME}/[^/]')"
                f" && !self.matches('{_STEPS}'))",
                _CLAIM_MESSAGE,
            ),
        )
    ),
]
OciUri = Annotated[
    str,
    WithJsonSchema(
        text(
            512,
            rule(
                "self.matches('^oci://([a-zA-Z0-9._-]+|[[][0-9a-fA-F:.]+[]])(:[0-9]{1,5})?/[a-z0-9._/-]+$')",
                "must be a repository such as oci://registry.example.com/models",
            ),
        )
    ),
]
Sha256 = Annotated[
    str,
    WithJsonSchema(
        text(64, rule("self.matches('^[0-9a-f]{64}$')", "must be 64 lower-case hexadecimal digits"))
    ),
]
Score = Annotated[
    str,
    WithJsonSchema(
        text(
            12,
            rule(
                "self.matches('^(100([.]0+)?|[0-9]{1,2}([.][0-9]{1,6})?|-[0-9]{1,4}([.][0-9]{1,6})?)%$')",
                'must be a percentage of at most 100%, such as "92%"',
            ),
        )
    ),
]
Points = Annotated[
    str,
    WithJsonSchema(
        text(
            12,
            rule(
                "self.matches('^(100([.]0+)?|[0-9]{1,2}([.][0-9]{1,6})?)%$')",
                'must be percentage points from 0% to 100%, such as "0.5%"',
            ),
        )
    ),
]
Sparsity = Annotated[
    str,
    WithJsonSchema(
        text(
            12,
            rule(
                "self.matches('^[0-9]{1,2}([.][0-9]{1,6})?%$')",
                'must be a percentage from 0% to below 100%, such as "50%"',
            ),
        )
    ),
]
DecimalString = Annotated[
    str,
    WithJsonSchema(
        text(32, rule(f"self.matches('{DECIMAL}')", 'must be a quoted decimal, such as "0.5" or "1e-4"'))
    ),
]
PositiveDecimal = Annotated[
    str,
    WithJsonSchema(
        text(
            32,
            rule(
                f"self.matches('{DECIMAL}') && double(self) > 0.0",
                'must be a quoted decimal above 0, such as "0.001" or "1e-4"',
            ),
        )
    ),
]
Bytes = Annotated[
    str,
    WithJsonSchema(
        text(
            20,
            rule(
                "self.matches('^[0-9]+([.][0-9]+)?([kMGT]|[KMGT]i)?$') && isQuantity(self)",
                'must be a quantity of bytes, such as "20Mi"',
            ),
        )
    ),
]
IntOrPercent = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 16,
            "x-kubernetes-validations": [
                rule(
                    "type(self) == int ? self >= 0 : self.matches('^(100|[0-9]{1,2})%$')",
                    'must be a number of pods or a percentage from 0% to 100%, such as 1 or "25%"',
                )
            ],
        }
    ),
]
# Fields of the pod template that Kubernetes itself checks: their own schema would pass 64 KiB.
FreeObject = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": True}),
]
FreeList = Annotated[
    list[dict[str, Any]],
    WithJsonSchema(
        {
            "type": "array",
            "maxItems": 64,
            "items": {
                "type": "object",
                "maxProperties": 64,
                "x-kubernetes-preserve-unknown-fields": True,
            },
        }
    ),
]
StringMap = Annotated[
    dict[str, str],
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 64,
            "additionalProperties": {"type": "string", "maxLength": 4096},
        }
    ),
]


def parse_percent(value: str) -> Decimal:
    """Return `"0.5%"` as Decimal("0.5"). Raises ValueError for anything that is not a percentage."""
    if not re.fullmatch(PERCENT, value):
        raise ValueError(f'{value!r} is not a percentage such as "92%"')
    return Decimal(value.removesuffix("%"))


def parse_decimal(value: str) -> float:
    """Return a quoted decimal as float. Raises ValueError for anything else, NaN and Infinity included."""
    if not re.fullmatch(DECIMAL, value):
        raise ValueError(f'{value!r} is not a decimal such as "0.5" or "1e-4"')
    return float(value)


def parse_bytes(value: str) -> int:
    """Return a Kubernetes quantity of bytes (`"20Mi"`, `"1.5G"`, `"1000"`) as an int, rounded up."""
    match = _BYTES.fullmatch(value)
    if not match:
        raise ValueError(f'{value!r} is not a quantity of bytes such as "20Mi"')
    number = Decimal(match[1]) * _UNITS[match[2]]
    return int(number.to_integral_value(rounding="ROUND_CEILING"))


def parse_claim(uri: str) -> tuple[str, str]:
    """Return the claim and the path of `pvc://CLAIM/PATH`. Raises ValueError where it is none."""
    claim, _, path = uri.removeprefix(CLAIM).partition("/")
    steps = path.removesuffix("/").split("/")
    named = uri.startswith(CLAIM) and re.fullmatch(_CLAIM_NAME, claim) and len(claim) <= _NAME_LENGTH
    if not named or any(step in ("", ".", "..") for step in steps):
        raise ValueError(_CLAIM_MESSAGE)
    return claim, "/".join(steps)
