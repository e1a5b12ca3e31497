"""Numbers that JSON has not, and what is said of numbers that a tensor does not take, over both protocols."""

import json
from typing import Any

import numpy as np
import pytest

from modelpress.serving.errors import BadRequest
from modelpress.serving.protocols.base import Model
from modelpress.serving.protocols.oip_rest import OipRest
from modelpress.serving.protocols.tfserving_rest import TfServingRest
from modelpress.serving.signature import Signature, Tensor


def decoded(values: str, dtype: str = "float32", blank: str = "") -> list[Any]:
    """Return what both protocols make of a row of values."""
    count = values.count(",") + 1
    tensor = Tensor("x", (-1, count), np.dtype(dtype))
    model = Model("m", "m-1", "sha256:0", Signature((tensor,), (tensor,)))
    datatype = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "uint64": "UINT64"}[
        dtype
    ]
    entry = f'{{"name":"x","datatype":"{datatype}","shape":[1,{count}],"data":[{values}]}}'
    oip = OipRest(model).decode(f'{{"inputs":[{entry}]}}{blank}'.encode())
    tfserving = TfServingRest(model).decode(f'{{"instances":[[{values}]]}}{blank}'.encode())
    return [call.inputs[0][0].tolist() for call in (oip, tfserving)]


@pytest.mark.parametrize("blank", ["", " " * 3000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_not_finite_are_taken_bare(dtype: str, blank: str) -> None:
    for found in decoded("NaN, Infinity, -Infinity, 1.5, 3", dtype, blank):
        assert np.isnan(found[0])
        assert found[1:] == [np.inf, -np.inf, 1.5, 3]


@pytest.mark.parametrize(
    "values", ["nan", "inf", "+Infinity", "NaNs", "--Infinity", "1e999", "NaN, 1e999", '"NaN"', "NaN, 01"]
)
def test_other_words_for_them_are_refused(values: str) -> None:
    with pytest.raises(BadRequest):
        decoded(values)


def test_integers_take_none_of_them() -> None:
    with pytest.raises(BadRequest, match="value 0 is a floating-point number; int32 takes integers"):
        decoded("NaN", "int32")


@pytest.mark.parametrize("beside", ["", ", NaN"])
def test_large_integers_beside_them_are_exact(beside: str) -> None:
    assert decoded(f"9007199254740993{beside}", "float64")[0][0] == float(9007199254740993)


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        ("4.5", "int64", "is a floating-point number; int64 takes integers"),
        ("1e3", "int64", "is a floating-point number; int64 takes integers"),
        (str(2**64), "int64", "out of the range of int64"),
        (str(2**64), "uint64", "out of the range of uint64"),
        (str(2**63), "int64", "is 9223372036854775808, out of the range of int64"),
        (str(-(2**70)), "int64", "out of the range of int64"),
    ],
)
def test_what_is_wrong_with_a_number_is_said_as_it_is(value: str, dtype: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        decoded(value, dtype)
    assert "fraction" not in json.dumps(caught.value.message)
