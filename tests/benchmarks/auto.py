"""`scheme: Auto` on twelve models of different kinds: every candidate, and what was chosen.

The limit is a drop of 0.5 points. Bytes are ratios to the weights in float32 and to the float32 format, and
speeds to the float32 format in LiteRT at batch 1 and 32. Run with `python -m
tests.benchmarks.auto [MODEL ...]` from the repository's root; all twelve take about ten minutes on two cores.
"""

import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from modelpress.compression.report.document import CandidateReport
from tests.support.models import auto_acceptance
from tests.support.models import twelve as twelve_models
from tests.support.models.auto_acceptance import Outcome

_NUMBERS = f"{'bytes':>7}{'file':>7}{'score':>8}{'drop':>7}{'batch 1':>9}{'batch 32':>9}"


def main(names: Sequence[str] = ()) -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"\nAuto, at most {auto_acceptance.MAX_DROP} points; scores of the half that chooses")
    print(f"{'model':12}{'candidate':32}{_NUMBERS}")
    with tempfile.TemporaryDirectory() as name:
        for kind in names or twelve_models.KINDS:
            folder = Path(name) / kind.replace(" ", "-")
            folder.mkdir()
            model = twelve_models.train(kind, folder)
            show(kind, auto_acceptance.run(model, twelve_models.KINDS[kind].metric, folder))


def show(kind: str, outcome: Outcome) -> None:
    """Print the candidates of a model, then the judgement."""
    sizes = outcome.auto.report.sizes
    for item in outcome.search.candidates:
        print(f"{kind:12}{_line(item, sizes.float32_bytes)}")
    for made, name in ((outcome.auto, "chosen, judged"), (outcome.dynamic, "Int8Dynamic, judged")):
        scores, found = made.report.evaluation, made.report.sizes
        assert scores is not None
        speeds = "".join(f"{item.speedup:8.2f}x" for item in made.report.latency)
        print(
            f"{kind:12}{name:32}{found.ratio:6.2f}x{found.float32_bytes / found.compressed_bytes:6.2f}x"
            f"{scores.compressed:8.2f}{scores.drop:7.2f}{speeds}"
        )
    broken = outcome.broken()
    print(f"{kind:12}{outcome.search.note}{'; BROKEN: ' + '; '.join(broken) if broken else ''}", flush=True)


def _line(item: CandidateReport, float32_bytes: int) -> str:
    if item.bytes is None or item.ratio is None or item.score is None or item.drop is None:
        return f"{item.name:32} {item.why_not}"
    speeds = "".join(f"{found.speedup:8.2f}x" for found in item.latency)
    marks = "chosen" if item.chosen else item.why_not
    return (
        f"{item.name:32}{item.ratio:6.2f}x{float32_bytes / item.bytes:6.2f}x{item.score:8.2f}{item.drop:7.2f}"
        f"{speeds}  {'*' if item.front else ' '} {marks}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
