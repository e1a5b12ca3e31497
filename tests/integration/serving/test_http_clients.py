"""Clients as they are: the JDK's own, which offers HTTP/2 with each request, and curl's offer of it."""

import asyncio
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving.http_server import PREDICT, ROW, ServerFixture, post, serve

OFFER = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUser-Agent: Java-http-client/17\r\n"
)
GET = f"GET /v2/health/live HTTP/1.1\r\n{OFFER}Host: localhost\r\n".encode()
DONE = (200, b'{"predictions":[[2.0]]}')
LIVE = (200, b'{"live":true}')
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROW), ROW)
IN_CHUNKS = post(PREDICT, b"", OFFER).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + CHUNKS
OFFERS = {
    "Java 17's GET": (GET + b"Content-Length: 0\r\n\r\n", LIVE),
    "Java 21's GET": (GET + b"\r\n", LIVE),
    "a POST": (post(PREDICT, ROW, OFFER), DONE),
    "a POST in chunks": (IN_CHUNKS, DONE),
    "another protocol": (post(PREDICT, ROW, "Connection: upgrade\r\nUpgrade: websocket\r\n"), DONE),
}


@pytest.mark.parametrize("case", OFFERS)
def test_an_offer_of_another_protocol_is_ignored_wherever_the_request_is_cut(case: str) -> None:
    request, expected = OFFERS[case]
    body = request.index(b"\r\n\r\n") + 4

    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()  # one connection: each request leaves it as it should
        for cuts in ([], [5], [body - 3], [body - 1], [body], [10, body - 1, body, len(request) - 1]):
            places = [0, *cuts, len(request)]
            await peer.send(*(request[a:b] for a, b in pairwise(places) if a < b))
            assert await peer.status() == expected
        peer.writer.write(request * 20 + post(PREDICT, ROW))
        for _ in range(20):
            assert await peer.status() == expected
        assert await peer.status() == DONE

    serve(test)


def test_what_follows_the_body_of_such_a_request_is_the_next_request() -> None:
    inner = post(PREDICT, ROW)

    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(post(PREDICT, inner, OFFER) + GET + b"\r\n")
        assert (await peer.error())[0] == 400  # a request is no JSON
        assert await peer.status() == LIVE
        assert server.executor.rows == 0

    serve(test)


@pytest.mark.parametrize("method", ["CONNECT", "PRI"])
def test_what_is_no_offer_is_refused(method: str) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        target = {"CONNECT": "localhost:1 HTTP/1.1\r\nHost: localhost", "PRI": "* HTTP/2.0"}[method]
        peer = await connect(f"{method} {target}\r\n\r\nSM\r\n\r\n".encode())
        assert (await peer.error())[0] == {"CONNECT": 405, "PRI": 400}[method]
        assert await peer.ended()

    serve(test)


JAVA = """
import java.net.URI;
import java.net.http.*;
class Ask {
  public static void main(String[] args) throws Exception {
    var client = HttpClient.newHttpClient();
    var get = HttpRequest.newBuilder(URI.create(args[0] + "/v2/health/live")).build();
    var post = HttpRequest.newBuilder(URI.create(args[0] + args[1]))
        .POST(HttpRequest.BodyPublishers.ofString(args[2])).build();
    var chunked = HttpRequest.newBuilder(URI.create(args[0] + args[1]))
        .POST(HttpRequest.BodyPublishers.fromPublisher(HttpRequest.BodyPublishers.ofString(args[2]))).build();
    for (var request : new HttpRequest[] {get, post, chunked, get, post}) {
      var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
    }
  }
}
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="no JDK")
def test_the_client_of_the_jdk_is_answered(tmp_path: Path) -> None:
    source = tmp_path / "Ask.java"
    source.write_text(JAVA)

    async def test(server: ServerFixture, connect: Any) -> None:
        program = await asyncio.create_subprocess_exec(
            "java",
            str(source),
            f"http://localhost:{server.port}",
            PREDICT,
            ROW.decode(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await program.communicate()
        if program.returncode and b"compiler" in err:
            pytest.skip("a Java runtime without its compiler")
        live, done = 'HTTP_1_1 {"live":true}', 'HTTP_1_1 {"predictions":[[2.0]]}'
        assert out.decode().splitlines() == [f"200 {text}" for text in (live, done, done, live, done)], err

    serve(test)
