"""`modelpress compress`: the Job of one manifest on this machine, without serving what it makes."""

import signal
import tempfile
import threading
from pathlib import Path

import click

from modelpress.api.contract import JobResult
from modelpress.api.spec import Spec
from modelpress.api.text import printable
from modelpress.artifacts.stores.base import renew_in_layout
from modelpress.local import documents, reports
from modelpress.local.display import Display
from modelpress.local.exit_codes import error_of, job_error, job_result
from modelpress.local.node.pods import PodProcess
from modelpress.planning.artifacts import gate
from modelpress.planning.preview import preview
from modelpress.planning.types import Body, Settings

GRACE = 10.0  # seconds that the process gets to end


def compress(manifest: Path, output: Path, *, verbose: bool) -> int:
    """Write the artifact of a manifest to an OCI layout and print its report; return the exit code.

    Raises ModelPressError where it cannot be made, or misses a limit.
    """
    found = documents.read(manifest)
    body = documents.checked(found)
    body["spec"].pop("storage", None)
    spec = Spec.model_validate(body["spec"])
    result = _run(_pod(body, output), found.secrets, verbose=verbose)
    if result.reused:  # report and serve take the newest artifact
        renew_in_layout(output, result.artifact_digest)
    reports.show_stored(output, result.artifact_digest)
    click.echo(printable(f"artifact {result.artifact_digest} is in {output}"))
    scores = gate.measured(result.scores) if result.scores else None
    missed = gate.judge(spec.evaluation, scores, result.compressed_bytes)
    if missed:
        raise error_of(missed.reason, missed.message)
    return 0


def _pod(body: documents.Body, output: Path) -> Body:
    """Return the pod of the Job that a cluster would run, with the folder as its store."""
    settings = Settings("local", "local", "local", store=output.resolve().as_uri())
    metadata = {"namespace": "default", **body["metadata"]}
    job = next(made for made in preview({**body, "metadata": metadata}, settings) if made["kind"] == "Job")
    template = job["spec"]["template"]
    named = {"name": metadata["name"], "namespace": metadata["namespace"]}
    return {**template, "metadata": {**template["metadata"], **named}}


def _run(pod: Body, secrets: dict[str, dict[str, bytes]], *, verbose: bool) -> JobResult:
    changed = threading.Event()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    with tempfile.TemporaryDirectory(prefix="modelpress-") as folder, Display(verbose=verbose) as display:
        process = PodProcess(pod, Path(folder), secrets.get, changed.set, on_line=display.log)
        process.start()
        try:
            while not process.finished:
                changed.wait()
                changed.clear()
        finally:
            process.stop(GRACE)
        ended = {**pod, "status": process.status()}
    result = job_result(ended)
    if result is None:
        raise job_error(ended)
    return result
