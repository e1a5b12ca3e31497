"""YAML as kubectl reads it; tests/cluster/test_api.py asks kubectl itself for the same scalars."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.api import kubeyaml
from modelpress.api.errors import UsageError
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
        ("a: \x00", "special characters are not allowed"),
    ],
)
def test_bad_yaml_is_one_line_that_names_the_place(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        kubeyaml.parse(text)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_an_alias_bomb_ends_early() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(UsageError, match="more than 200000 values"):
        kubeyaml.parse("\n".join(lines))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    said = ""
    documents: list[Any] = []
    try:
        documents = kubeyaml.parse(text)
    except UsageError as error:
        said = error.message
    assert "\n" not in said
    assert all(isinstance(document, dict) for document in documents)
