"""Text of others for a terminal: nothing that it obeys, hides or reorders."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from modelpress.api.text import printable, printable_json

HOSTILE = "".join(
    [
        *map(chr, range(0x20)),
        *map(chr, range(0x7F, 0xA0)),
        *"\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\ufff9\U000e0041",
        "\ud800",
    ]
)


def test_hostile_characters_are_written_out() -> None:
    assert printable("\x1b[2J\x9b1m\u202egnp\x7f\r") == r"\x1b[2J\x9b1m\u202egnp\x7f\r"
    assert printable(HOSTILE).isascii()
    assert printable(HOSTILE).isprintable()


def test_other_text_stays() -> None:
    for text in ("conv2d/kernel:0", "größe Ω 層 😀", "[red]text[/red]", r"\x1b"):
        assert printable(text) == text


def test_what_is_kept_and_what_is_cut() -> None:
    assert printable("a\n\x1b\tb", keep="\n\t") == "a\n\\x1b\tb"
    assert printable("x" * 30, limit=10) == "xxxxxxx..."
    assert printable("x" * 10, limit=10) == "x" * 10


@given(st.text(max_size=50))
def test_nothing_but_printable_text_comes_out(text: str) -> None:
    assert all(unicodedata.category(letter)[0] not in "CZ" or letter == " " for letter in printable(text))


@given(st.recursive(st.text(max_size=20), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_printable_json_says_the_same(value: object) -> None:
    written = printable_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(written) == value
    assert all(letter.isprintable() for letter in written if letter not in " \n\t\r")


def test_printable_json_escapes_what_json_lets_pass() -> None:
    assert json.loads(printable_json(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE
