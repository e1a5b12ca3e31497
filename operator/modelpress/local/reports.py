"""Reports of artifacts on this machine. Reads report.json only; needs no TensorFlow."""

from pathlib import Path

import click

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.api.evaluation import Evaluation, OutputEvaluation
from modelpress.api.text import printable, printable_json
from modelpress.artifacts.manifest import REPORT_FILE
from modelpress.compression.report import document as report
from modelpress.compression.report import terminal
from modelpress.compression.report.document import Report
from modelpress.compression.report.html import page as report_html
from modelpress.compression.report.html.page import PageVerdict
from modelpress.local.artifact_files import artifact_files, stored_files
from modelpress.planning.artifacts import gate


def show(directory: Path, *, as_json: bool, html: Path | None = None) -> None:
    """Print the report of an artifact's folder or layout, or write it as a page into the file `html`.

    Raises MissingError and DataError for the artifact, UsageError where the file cannot be written.
    """
    with artifact_files(directory) as folder:
        found = report.load(folder)
        if html is not None:
            _write(html, report_html.render(found, verdict(found)))
        elif as_json:
            click.echo(printable_json((folder / REPORT_FILE).read_text(encoding="utf-8")), nl=False)
        else:
            terminal.show(found)


def show_stored(layout: Path, digest: str) -> None:
    """Print the report of an artifact in an OCI layout. Raises MissingError, DataError."""
    with stored_files(layout, digest) as folder:
        terminal.show(report.load(folder))


def verdict(found: Report) -> PageVerdict | None:
    """Judge the report by the limits that it was made with; None where it has none."""
    evaluation = found.evaluation
    if evaluation is None or evaluation.limits is None:
        return None
    limits = Evaluation(
        metric=evaluation.metric,
        min_score=evaluation.limits.min_score,
        max_drop=evaluation.limits.max_drop,
        max_size=evaluation.limits.max_size,
        outputs=tuple(
            OutputEvaluation(name=item.name, min_score=item.min_score, max_drop=item.max_drop)
            for item in evaluation.limits.outputs
        )
        or None,
    )
    measured = gate.measured(report.scores(evaluation))
    missed = gate.judge(limits, measured, found.sizes.compressed_bytes)
    return PageVerdict(missed.message if missed else None)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            Reason.INVALID_SPEC, f"--html {path}: {error.strerror}; give a file that can be written"
        ) from error
    click.echo(printable(f"wrote {path}"))
