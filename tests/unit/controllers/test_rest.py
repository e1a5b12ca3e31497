"""What the API server gets, byte by byte, and what it never gets."""

import json

import pytest
from kubernetes.client import Configuration

from modelpress.controllers.resources import JOB
from modelpress.controllers.rest import NotActive, Request, Rest, encoded

BODY = {"data": {"b": [1, "<é & ü>", {"z": None, "a": True}], "a": "\u2028"}, "apiVersion": "apps/v1"}
DATA = r'{"a":"\u2028","b":[1,"\u003cé \u0026 ü\u003e",{"a":true,"z":null}]}'


def test_a_body_has_the_bytes_that_go_writes_of_it() -> None:
    assert encoded(BODY) == f'{{"apiVersion":"apps/v1","data":{DATA}}}'.encode()
    assert json.loads(encoded(BODY)) == BODY


@pytest.mark.parametrize("verb", ["create", "patch", "delete"])
def test_a_standby_sends_no_write(verb: str) -> None:
    rest = Rest(Configuration(host="http://127.0.0.1:1"), may_write=lambda: False)
    with pytest.raises(NotActive, match=f"{verb} of jobs"):
        rest.send(Request(verb, JOB, "shop", "digits-1"))
    assert rest.requests() == {}
