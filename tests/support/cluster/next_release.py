"""A release after this checkout: a copy of it with small changes, of the kinds that the next one may have.

Another renderer (labels in another order, one more; a variable of the pods; fields of their owners), a field
of the spec with a default and one of the status, another version of the compressor, other dependencies.
"""

import shutil
from pathlib import Path

from tests.support.cluster.earlier_release import PARTS, PROJECT, Release, install

PACKAGES = ("click==8.2.0", "kopf==1.45.0", "kubernetes==33.1.0", "pydantic==2.12.0")
_LABELS = (
    '        "app.kubernetes.io/name": "modelpress",\n        "app.kubernetes.io/component": component,\n'
)
_PLANNING = "operator/modelpress/planning"
# by file: what stands there once, and what the next release has
CHANGES: dict[str, tuple[tuple[str, str], ...]] = {
    "pyproject.toml": (('\nversion = "', '\nversion = "99.'),),
    "operator/modelpress/api/names.py": (
        (
            f"        NAME_LABEL: resource,\n{_LABELS}",
            f'{_LABELS}        "app.kubernetes.io/part-of": "models",\n        NAME_LABEL: resource,\n',
        ),
    ),
    "operator/modelpress/api/spec.py": (
        (
            "    drain_seconds: int = Field(\n",
            '    polite: bool = Field(True, description="Of the next release.")\n'
            "    drain_seconds: int = Field(\n",
        ),
    ),
    "operator/modelpress/api/status.py": (
        (
            "    replicas: int | None = Field(None,",
            '    greeting: str | None = Field(None, max_length=9, description="Of the next release.")\n'
            "    replicas: int | None = Field(None,",
        ),
    ),
    f"{_PLANNING}/status.py": (
        (
            "        replicas=len(facts.worker_pods),\n",
            '        greeting="hello",\n        replicas=len(facts.worker_pods),\n',
        ),
    ),
    f"{_PLANNING}/render/pod.py": (
        ('        "HOME": WORK_MOUNT,\n', '        "NEXT_RELEASE": "1",\n        "HOME": WORK_MOUNT,\n'),
    ),
    f"{_PLANNING}/render/deployment.py": (('"revisionHistoryLimit": 3', '"revisionHistoryLimit": 4'),),
}


def next_release(folder: Path) -> Release:
    """Build it in a folder."""
    release = Release(folder)
    release.source.mkdir(parents=True)
    for part in PARTS:
        copy = shutil.copytree if (PROJECT / part).is_dir() else shutil.copy
        copy(PROJECT / part, release.source / part)
    for name, changes in CHANGES.items():
        path = release.source / name
        text = path.read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{name}: {old!r} stands there {text.count(old)} times"
            text = text.replace(old, new)
        path.write_text(text)
    install(release, PACKAGES)
    crd = release.run("crd")
    (release.crds / "modelpress.dev_modeldeployments.yaml").write_text(crd)
    return release
