"""The demo: train a small model, let `modelpress run` compress, judge and serve it, and measure the answers.

Run from the root of the source tree: `python -m modelpress.local.demo`.
"""

import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from modelpress.compression.report import document as report
from modelpress.compression.report.document import Report
from modelpress.local import digits
from modelpress.local.artifact_files import stored_files
from modelpress.local.digits import Original
from modelpress.local.display import Display
from modelpress.local.node import orphan_reaper

MANIFEST = Path("manifests/samples/local/digits.yaml")
FOLDER = Path("demo")
REQUESTS = 200  # for each latency
STOP_SECONDS = 30


@dataclass(frozen=True)
class Served:
    """What `modelpress run` printed when the model was ready."""

    url: str
    digest: str


@dataclass(frozen=True)
class Answers:
    """What was measured over HTTP."""

    accuracy: float  # 0 to 1
    milliseconds: dict[int, float]  # median of one request, by rows


@click.command()
@click.option(
    "--min-score", help="Another evaluation.minScore, such as 100%: shows a gate that cannot be met."
)
def main(min_score: str | None) -> None:
    """Train a digits model, serve it compressed on this machine, and compare."""
    console = Console()
    original = _trained(FOLDER)
    manifest = _with_min_score(min_score) if min_score else MANIFEST
    console.print(f"$ modelpress run -f {manifest}", markup=False)
    with _running(manifest, FOLDER / "state") as process:
        served = _wait_until_ready(process)
        if served is None:
            sys.exit(process.wait())
        images, labels = digits.load_split(FOLDER, "holdout")
        console.print(f"sending {len(images)} held-out images to {served.url}", markup=False)
        answers = _ask(served.url, images, labels)
    with stored_files(FOLDER / "state" / "artifacts", served.digest) as folder:
        console.print(_table(original, answers, report.load(folder)))
    console.print(f"artifact {served.digest}", markup=False, highlight=False, soft_wrap=True)


def _trained(folder: Path) -> Original:
    with Display() as display:
        if all(path.exists() for path in digits.files(folder)):
            display.say(f"{folder / digits.MODEL} is there: not trained again")
            return digits.load_original(folder)
        display.say(f"training {folder / digits.MODEL}")
        return digits.train(folder, lambda done, total, facts: display.advance("train", done, total, **facts))


def _with_min_score(score: str) -> Path:
    """Write the sample with another limit beside the model, and return its path."""
    body = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    sources = [body["spec"]["model"], *body["spec"]["data"].values()]
    for source in sources:
        source["uri"] = Path(source["uri"]).name
    body["spec"]["evaluation"]["minScore"] = score
    path = FOLDER / "digits-min-score.yaml"
    path.write_text(yaml.safe_dump(body, sort_keys=False), encoding="utf-8")
    return path


@contextmanager
def _running(manifest: Path, state: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run `modelpress run` beside us; it has ended when this context ends, and when we are killed."""
    command = [sys.executable, "-m", "modelpress", "run", "-f", str(manifest), "--state", str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    orphan_reaper.shared().watch(process.pid)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            orphan_reaper.kill_group(process.pid)
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[str]") -> Served | None:
    """Pass on what `run` prints until it names the URL and the digest; None where it ended before."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        click.echo(line, nl=False)
        for name, pattern in (("url", r"is ready: (http://\S+)"), ("digest", r"artifact +(sha256:\w+)")):
            match = re.search(pattern, line)
            if match:
                found[name] = match[1]
        if line.lstrip().startswith("try "):  # the last line
            return Served(**found)
    return None


def _ask(url: str, images: NDArray[np.float32], labels: NDArray[np.int64]) -> Answers:
    """Send images over the Open Inference Protocol v2 and return what came back."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    described = _call(connection, "GET", "/v2/models/digits")
    name = described["inputs"][0]["name"]
    batches = [images[start : start + 32] for start in range(0, len(images), 32)]
    scores = np.concatenate([_infer(connection, name, batch) for batch in batches])
    milliseconds = {rows: _latency(connection, name, images[:rows]) for rows in (1, 32)}
    connection.close()
    return Answers(float((scores.argmax(axis=1) == labels).mean()), milliseconds)


def _infer(
    connection: http.client.HTTPConnection, name: str, rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the model's output for rows (n, 8, 8, 1): (n, 10)."""
    tensor = {"name": name, "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}
    output = _call(connection, "POST", "/v2/models/digits/infer", {"inputs": [tensor]})["outputs"][0]
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


def _latency(connection: http.client.HTTPConnection, name: str, rows: NDArray[np.float32]) -> float:
    times = []
    for _ in range(REQUESTS):
        begun = time.perf_counter()
        _infer(connection, name, rows)
        times.append(time.perf_counter() - begun)
    return float(np.median(times)) * 1e3


def _call(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Any:
    connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise click.ClickException(f"{path}: {response.status} {content.decode(errors='replace')}")
    return json.loads(content)


def _table(original: Original, answers: Answers, found: Report) -> Table:
    table = Table("", "original", "compressed", "")
    for column in table.columns[1:]:
        column.justify = "right"
    before, after, sizes = original.accuracy, answers.accuracy, found.sizes
    change = f"{(after - before) * 100:+.2f} points"
    table.add_row("accuracy on held-out images", f"{before:.2%}", f"{after:.2%}", change)
    ratio = f"{sizes.ratio:.2f}x smaller"
    table.add_row("bytes", f"{sizes.original_bytes:,}", f"{sizes.compressed_bytes:,}", ratio)
    for entry in found.latency:
        first, second = f"{entry.original / 1e3:.3f} ms", f"{entry.compressed / 1e3:.3f} ms"
        table.add_row(
            f"a call of LiteRT, batch {entry.batch}", first, second, f"{entry.speedup:.2f}x the speed"
        )
    for rows, took in original.milliseconds.items():
        table.add_row(f"a call of Keras, batch {rows}", f"{took:.2f} ms")
    for batch, took in answers.milliseconds.items():
        table.add_row(f"a request over HTTP, batch {batch}", "", f"{took:.2f} ms")
    return table


if __name__ == "__main__":
    main(prog_name="python -m modelpress.local.demo")
