"""The bytes that the API server gets."""

import json

from modelpress.controllers.rest import encoded

BODY = {"data": {"b": [1, "<é & ü>", {"z": None, "a": True}], "a": "\u2028"}, "apiVersion": "apps/v1"}
DATA = r'{"a":"\u2028","b":[1,"\u003cé \u0026 ü\u003e",{"a":true,"z":null}]}'


def test_a_body_has_the_bytes_that_go_writes_of_it() -> None:
    assert encoded(BODY) == f'{{"apiVersion":"apps/v1","data":{DATA}}}'.encode()
    assert json.loads(encoded(BODY)) == BODY
