"""h2spec (github.com/summerwind/h2spec) against the HTTP/2 layer: about 150 cases of RFC 7540, 7541 and 9113.

The layer above is one that answers every request with a byte, a moment later: gRPC would refuse h2spec's
requests before their bodies come.
"""

import asyncio
import re
import subprocess
from pathlib import Path

from modelpress.serving.protocols.grpc.headers import block
from modelpress.serving.protocols.grpc.http2 import Http2Connection, Stream
from modelpress.serving.protocols.grpc.lifetime import Connections
from modelpress.serving.protocols.grpc.limits import LIMITS
from modelpress.serving.protocols.grpc.outbox import Backlog
from tests.support import needs
from tests.support.binaries import binary

_LATER = 0.05  # seconds: streams must be open for a while


class Bytes:
    """A layer above that knows no gRPC."""

    def opened(self, stream: Stream) -> None:
        stream.exchange = True

    def data(self, stream: Stream, part: bytes) -> None:
        if stream.complete:
            asyncio.get_running_loop().call_later(_LATER, self.answer, stream)

    def gone(self, stream: Stream) -> None:
        stream.exchange = None

    def answer(self, stream: Stream) -> None:
        if stream.exchange:
            stream.connection.respond(stream, block([(b":status", b"200")]), b"x", block([(b"end", b"1")]))


def test_h2spec(tmp_path: Path) -> None:
    needs.program("h2spec")
    program, report = binary("h2spec"), tmp_path / "report.xml"

    async def run() -> tuple[int, str]:
        calls, peers = Bytes(), Connections(LIMITS, Backlog(2**20))
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Http2Connection(calls, peers), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        command = [str(program), "-h", "127.0.0.1", "-p", str(port), "-o", "2", "-j", str(report)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=600)
        server.close()
        for connection in list(peers):
            connection.cut()
        return done.returncode, done.stdout

    code, output = asyncio.run(run())
    found = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", output)
    assert found, output
    print(found[0])
    assert code == 0, output
    assert int(found[2]) > 140
