"""What of the API this release does not do yet: refused with NotSupportedYet, never ignored.

A value leaves this list in the change that implements it. This module is pure.
"""

from collections.abc import Iterable, Iterator

from modelpress.api.spec import Data, Parallelism, Source, Spec

_URI_SCHEMES = ("pvc",)  # those of the CRD that no source reads yet


def unsupported(spec: Spec) -> list[str]:
    """Return one line, `spec.path: ...`, for each setting that this release does not implement."""
    return [
        *not_compressed(spec),
        *_lines(_parallelism(spec.parallelism)),
    ]


def not_compressed(spec: Spec) -> list[str]:
    """Return those of the lines of `unsupported` that hinder making an artifact, not only serving it."""
    return _lines(_sources(spec))


def _lines(settings: Iterable[str]) -> list[str]:
    return [f"{line} is part of the API and not implemented in this release" for line in settings]


def _sources(spec: Spec) -> Iterator[str]:
    data = spec.data or Data()
    sources: dict[str, Source | None] = {
        "model": spec.model,
        "data.training": data.training,
        "data.calibration": data.calibration,
        "data.evaluation": data.evaluation,
    }
    for path, source in sources.items():
        scheme = source.uri.partition("://")[0] if source else ""
        if scheme in _URI_SCHEMES:
            yield f"spec.{path}.uri: {scheme}://"


def _parallelism(parallelism: Parallelism) -> Iterator[str]:
    if parallelism.pods_per_replica > 1:
        yield "spec.parallelism.podsPerReplica: a value above 1"
