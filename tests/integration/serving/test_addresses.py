"""A worker at `::`, as in pods: callers of IPv4 and of IPv6 reach both front ends."""

import json
from pathlib import Path

import httpx

from tests.support.serving.artifacts import worker
from tests.support.serving.grpc_client import Client, images, output, until


def test_both_front_ends_answer_both_families(artifacts: Path, tmp_path: Path) -> None:
    written = tmp_path / "access.log"
    with (
        written.open("wb") as stream,
        worker(artifacts / "seed-int8", tmp_path, host="::", stdout=stream, access_log=True) as running,
    ):
        ports = [int(where.rpartition(":")[2]) for where in (running.url, running.grpc)]
        seen = set()
        for host in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{host}:{ports[0]}/v2/health/ready").status_code == 200
            client = Client(f"{host}:{ports[1]}")
            seen.add(output(client.infer(images(2))))
            client.channel.close()
        assert len(seen) == 1

        def logged() -> set[str]:
            return {json.loads(line)["client"] for line in written.read_text().splitlines()}

        until(lambda: {"127.0.0.1", "::1"} <= logged())
        assert logged() == {"127.0.0.1", "::1"}
