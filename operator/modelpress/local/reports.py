"""Reports of artifacts on this machine. Reads report.json only; needs no TensorFlow."""

from pathlib import Path

import click

from modelpress.artifacts.manifest import REPORT_FILE
from modelpress.compression import report, report_text
from modelpress.local.folders import artifact_files, stored_files


def show(directory: Path, *, as_json: bool) -> None:
    """Print the report of an artifact's folder or layout. Raises MissingError, DataError."""
    with artifact_files(directory) as folder:
        found = report.load(folder)
        if as_json:
            click.echo((folder / REPORT_FILE).read_bytes(), nl=False)
        else:
            report_text.show(found)


def show_stored(layout: Path, digest: str) -> None:
    """Print the report of an artifact in an OCI layout. Raises MissingError, DataError."""
    with stored_files(layout, digest) as folder:
        report_text.show(report.load(folder))
