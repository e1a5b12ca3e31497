"""Scalar values: what the CRD's rules accept, the parsers read."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.api.values import parse_bytes, parse_decimal, parse_percent


@pytest.mark.parametrize(
    ("text", "expected"),
    [("92%", "92"), ("0.5%", "0.5"), ("-12.25%", "-12.25"), ("100%", "100"), ("0%", "0")],
)
def test_percentages(text: str, expected: str) -> None:
    assert parse_percent(text) == Decimal(expected)


@pytest.mark.parametrize("text", ["92", "%", "", "1e2%", "NaN%", "92%%", " 92%", "92%\n", "12345%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a percentage"):
        parse_percent(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.5", 0.5), ("-1", -1.0), ("+1.", 1.0), (".25", 0.25), ("1e-4", 1e-4), ("2E3", 2000.0)],
)
def test_decimals(text: str, expected: float) -> None:
    assert parse_decimal(text) == expected


@pytest.mark.parametrize("text", ["", ".", "1e", "1e999", "nan", "inf", "-Infinity", "1_000", "0x1", "1\n"])
def test_what_is_no_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a decimal"):
        parse_decimal(text)


@given(st.from_regex(r"[+-]?[0-9]{1,20}[.][0-9]{0,5}e[+-]?[0-9]{1,2}", fullmatch=True))
def test_a_decimal_of_the_accepted_form_is_finite(text: str) -> None:
    assert abs(parse_decimal(text)) < float("inf")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", 1000),
        ("20Mi", 20 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("2k", 2000),
        ("3M", 3_000_000),
        ("1.0001k", 1001),  # rounded up: a limit is never stricter than written
        ("0", 0),
    ],
)
def test_bytes(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "Mi", "20MB", "-1", "1e3", "20 Mi", "20m", "20Mi\n"])
def test_what_is_no_quantity_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity of bytes"):
        parse_bytes(text)
