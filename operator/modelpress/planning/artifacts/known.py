"""Which finished artifacts a Job may reuse of a store that others write to as well.

What such a store says of a key is anybody's word. A digest that an object of the Job's own namespace names is
not: nothing else can take the place of what has that digest.
"""

import json
import re
from itertools import chain

from modelpress.api import contract, names
from modelpress.planning.artifacts.artifact import store_in
from modelpress.planning.children import objects
from modelpress.planning.types import Body, Known
from modelpress.planning.view import View

MOST = 64  # of which a Job is told: one environment variable holds 128 KiB


def of(body: Body) -> Known | None:
    """Return the artifact that a ControllerRevision names, or the result that is kept on a Job."""
    if body["kind"] == "ControllerRevision":
        data = objects.dig(body, "data")
        return _checked(data, objects.dig(data, "store", "uri"))
    text = objects.annotation(body, names.RESULT_ANNOTATION)
    try:
        result = json.loads(text) if text else None
    except ValueError:
        return None
    return _checked(result, store_in(objects.dig(body, "spec", "template")).uri) if result else None


def to_json(view: View) -> str:
    """Return the value of contract.KNOWN_ARTIFACTS: its own artifacts, then those of its namespace."""
    own = filter(None, map(of, (*view.observed.revisions, *view.observed.jobs)))
    known: dict[str, str] = {}
    for artifact in chain(own, view.observed.artifacts):
        if artifact.store == view.store.uri and len(known) < MOST:
            known.setdefault(artifact.key, artifact.digest)
    return json.dumps(dict(sorted(known.items())), separators=(",", ":"))


def _checked(named: object, store: object) -> Known | None:
    """Return what is named where it is well formed: anybody may write an object of these kinds."""
    key, digest = objects.dig(named, "artifactKey"), objects.dig(named, "artifactDigest")
    if not (isinstance(key, str) and re.fullmatch(contract.ARTIFACT_KEY, key)):
        return None
    if not (isinstance(digest, str) and re.fullmatch(contract.DIGEST, digest)):
        return None
    return Known(key, digest, store) if isinstance(store, str) else None
