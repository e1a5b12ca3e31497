"""What of the API this release does not do yet: refused with NotSupportedYet, never ignored.

A value leaves this list in the change that implements it. This module is pure.
"""

from collections.abc import Iterator

from modelpress.api.spec import Parallelism, Spec


def unsupported(spec: Spec) -> list[str]:
    """Return one line, `spec.path: ...`, for each setting that this release does not implement."""
    return [
        f"{line} is part of the API and not implemented in this release"
        for line in _parallelism(spec.parallelism)
    ]


def _parallelism(parallelism: Parallelism) -> Iterator[str]:
    if parallelism.pods_per_replica > 1:
        yield "spec.parallelism.podsPerReplica: a value above 1"
