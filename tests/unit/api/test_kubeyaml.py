"""YAML as kubectl reads it; tests/e2e/cluster/test_api.py asks kubectl itself for the same scalars."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.api.errors import UsageError
from modelpress.api.validation import kubeyaml
from tests.support.yaml_scalars import SCALARS


def value(text: str) -> Any:
    (document,) = kubeyaml.parse(f"v: {text}")
    return document["v"]


@pytest.mark.parametrize(("text", "expected"), SCALARS)
def test_scalars(text: str, expected: Any) -> None:
    read = value(text)
    assert read == expected
    assert type(read) is type(expected)


def test_keys_become_strings() -> None:
    assert kubeyaml.parse("1: a\nyes: b\nc: d") == [{"1": "a", "true": "b", "c": "d"}]


def test_the_last_of_a_repeated_key_counts() -> None:
    assert kubeyaml.parse("a: 1\na: 2") == [{"a": 2}]


def test_anchors_and_merge_keys() -> None:
    text = "base: &b {x: 1, u: 2}\nother: {<<: *b, u: 3}\nlist: {<<: [*b, {x: 9, z: 4}]}"
    (read,) = kubeyaml.parse(text)
    assert read["other"] == {"x": 1, "u": 3}
    assert read["list"] == {"x": 1, "u": 2, "z": 4}


def test_an_alias_does_not_share_its_value() -> None:
    (read,) = kubeyaml.parse("a: &x {k: 1}\nb: *x")
    read["a"]["k"] = 2
    assert read["b"] == {"k": 1}


def test_documents_that_are_empty_are_left_out() -> None:
    assert kubeyaml.parse("---\n# nothing\n---\na: 1\n---\nb: 2\n---\n") == [{"a": 1}, {"b": 2}]
    assert kubeyaml.parse("") == []


def test_json_is_yaml() -> None:
    assert kubeyaml.parse('{"a": [1, true, null, "x"]}') == [{"a": [1, True, None, "x"]}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1: "),
        ("a: b\n  c: d", "line 2: mapping values are not allowed"),
        ("\ta: 1", "line 1: "),
        ("- a", "document 1 must be a mapping"),
        ("a: 1\n---\ntext", "document 2 must be a mapping"),
        ("a: *b", "line 1: found undefined alias"),
        ("a: .inf", "line 1: .inf is not a JSON number"),
        ("a: 1\nb: .nan", "line 2: .nan is not a JSON number"),
        ("a: &x [*x]", "line 1: an anchor contains itself"),
        ("[a]: b", "line 1: a key must be a string"),
        ("~: b", "line 1: a key must be a string"),
        ("a: !!binary aGk=", "line 1: the tag "),
        ("a: !!python/object:os.system x", "line 1: the tag "),
        ("a: {<<: 1}", "line 1: << needs a mapping"),
        ("a: b\nc: \x00", "line 2: the character U+0000 is not allowed"),
        ("a: b\nc: \x1b[2J", "line 2: the character U+001B is not allowed"),
        ('a: 1\nb: "\\uD800"', "line 2: a text holds one half of a surrogate pair"),
        ('"\\uDFFF": 1', "line 1: a text holds one half of a surrogate pair"),
        ('a: 1\nb: "\\UFFFFFFFF"', "line 2: a number is too large for what it stands for"),
        (f"%YAML {'1' * 6000}.1\n---\na: b", "line 1: a number is too large for what it stands for"),
    ],
)
def test_bad_yaml_is_one_line_that_names_the_place(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        kubeyaml.parse(text)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text", ["a: *{}", "a: !{} b", "a: !<tag:{}> b", "!{}!a b"], ids=lambda text: text[:8]
)
def test_an_error_quotes_no_more_than_a_person_reads(text: str) -> None:
    with pytest.raises(UsageError, match=r"^not a YAML manifest: line 1: ") as caught:
        kubeyaml.parse(text.format("b" * 2**20))
    assert len(caught.value.message) < 2100


def bomb(base: str, level: str) -> str:
    """Return anchors that each hold the one before ten times."""
    lines = [f"a0: &a0 {base}"]
    lines += [f"a{n}: &a{n} {level.format(', '.join([f'*a{n - 1}'] * 10))}" for n in range(1, 10)]
    return "\n".join(lines)


CHAIN = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300))])
DEEP = "more than 100 lists and maps within each other"
MANY = "more than 20000 values"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a:\n  " + "[" * 20_000 + "]" * 20_000, f"line 2: {DEEP}", id="lists"),
        pytest.param("a: " + "[" * 20_000, f"line 1: {DEEP}", id="lists left open"),
        pytest.param("a: " + "{b: " * 5_000 + "}" * 5_000, f"line 1: {DEEP}", id="maps"),
        pytest.param("\n".join(f"{' ' * n}a:" for n in range(1_500)), f"line 100: {DEEP}", id="block maps"),
        pytest.param("? " * 5_000 + "a", f"line 1: {DEEP}", id="keys of keys"),
        pytest.param("a:\n" + "- " * 5_000 + "a", f"line 2: {DEEP}", id="block lists"),
        pytest.param(CHAIN, f"line 1: {DEEP}", id="aliases of aliases"),
        pytest.param("a: [" + "[]," * 600_000 + "]", f"line 1: {MANY}", id="values"),
        pytest.param("a: [" + "?," * 600_000 + "]", f"line 1: {MANY}", id="empty keys"),
        pytest.param("a: {" + "b: c," * 300_000 + "}", f"line 1: {MANY}", id="one key again and again"),
        pytest.param("a: &a [" + "x," * 300 + "]\nb: [" + "*a," * 300 + "]", f"line 1: {MANY}", id="aliases"),
        pytest.param(bomb("[x, x]", "[{}]"), f"line 1: {MANY}", id="alias bomb"),
        pytest.param(bomb("{x: 1}", "{{<<: [{}]}}"), f"line 1: {MANY}", id="alias bomb of merge keys"),
        pytest.param("---\na: 1\n" * 3_000, "line 202: more than 100 documents", id="documents"),
        pytest.param("---\n" * 200_000, "line 102: more than 100 documents", id="empty documents"),
        pytest.param("#" * (2**21 + 1), "longer than 2097152 bytes", id="a long comment"),
    ],
)
def test_more_than_a_manifest_needs_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        kubeyaml.parse(text)
    assert caught.value.message == f"not a YAML manifest: {said}"


@pytest.mark.parametrize(
    "text",
    ["9" * 6_000, "-" + "9" * 6_000, "0x" + "f" * 400, "0b" + "1" * 70, "0" + "7" * 100_000, "1e400"],
    ids=lambda text: f"{text[:3]}, {len(text)} characters",
)
def test_a_number_that_nothing_holds_is_a_string(text: str) -> None:
    assert value(text) == text


def test_what_a_manifest_may_hold() -> None:
    assert len(kubeyaml.parse("---\na: 1\n" * 100)) == 100
    assert len(value("[" + "1," * 19_990 + "]")) == 19_990
    assert value("[" * 98 + "]" * 98)
    assert value("x" * (2**21 - 10))


PIECES = st.sampled_from(
    [
        *(
            "a: ",
            "- ",
            "? ",
            ": ",
            "\n",
            "\n  ",
            "\n    ",
            "---\n",
            "...\n",
            "<<: ",
            "&a ",
            "*a",
            "!!int ",
            "! ",
        ),
        *(
            "[",
            "]",
            "{",
            "}",
            ",",
            "'",
            '"',
            "|\n",
            ">-\n",
            "%YAML 1.2\n",
            "%TAG ! x\n",
            "#",
            "!<%1b>",
            "@",
            "`",
        ),
        *(
            "0x",
            "0o9",
            "1e999",
            "190:20:30",
            ".inf",
            "~",
            '"\\x1b"',
            '"\\uD800"',
            '"\\UFFFFFFFF"',
            "\x00",
            "\ufeff",
        ),
        *(
            "\t",
            "\r",
            "\x85",
            "\u2028",
            "2001-01-01",
            "12_3",
            "=",
            "é",
            "\U0001f600",
            "[" * 60,
            "- " * 60,
            "9" * 60,
        ),
    ]
)
MANGLED = st.lists(PIECES, max_size=25).map("".join)


@given(st.text(max_size=60) | MANGLED)
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    said = ""
    documents: list[Any] = []
    try:
        documents = kubeyaml.parse(text)
    except UsageError as error:
        said = error.message
    assert "\n" not in said
    assert all(isinstance(document, dict) for document in documents)
