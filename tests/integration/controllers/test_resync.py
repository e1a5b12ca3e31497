"""The resync against a stand-in for the API server."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from modelpress.controllers.rest import Rest
from modelpress.controllers.resync import Resync
from modelpress.controllers.store import Store

METADATA = {"name": "digits", "namespace": "shop", "uid": "a", "resourceVersion": "1"}


class _OnePage(http.server.BaseHTTPRequestHandler):
    """Answers every list with one object."""

    def do_GET(self) -> None:
        body = json.dumps({"metadata": {}, "items": [{"metadata": METADATA}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _OnePage) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_it_is_ready_when_the_store_held_all_that_lists_of_a_stand_in_for_the_api_server_told(
    server: str,
) -> None:
    store = Store()
    resync = Resync(Rest(client.Configuration(host=server)), store, [])
    assert resync.unready() is not None
    assert resync.dead() is None

    async def look() -> None:
        running = asyncio.create_task(resync.run(0.01, lambda _: None))
        while resync.unready() != "the watch of modeldeployments has not listed all of them yet":
            await asyncio.sleep(0.01)
        store.put({"kind": "ModelDeployment", "metadata": METADATA})
        while resync.unready() is not None:
            await asyncio.sleep(0.01)
        assert resync.rounds
        running.cancel()

    asyncio.run(look())
