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

_STORE = "oci://.{1,1000}"
MOST = 64  # of which a Job is told: one environment variable holds 128 KiB


def of(body: Body) -> Known | None:
    """Return the artifact that a ControllerRevision names, or the result that is kept on a Job.

    Anybody may write such objects: what is not well formed names nothing.
    """
    if body["kind"] == "ControllerRevision":
        data = objects.dig(body, "data")
        key, digest = objects.dig(data, "artifactKey"), objects.dig(data, "artifactDigest")
        store = objects.dig(data, "store", "uri")
        is_one = _is(contract.ARTIFACT_KEY, key) and _is(contract.DIGEST, digest) and _is(_STORE, store)
        return Known(key, digest, store) if is_one else None
    text = objects.annotation(body, names.RESULT_ANNOTATION)
    if text is None:
        return None
    try:
        result = contract.parse_result(text)
    except ValueError:
        return None
    store = store_in(objects.dig(body, "spec", "template")).uri
    return Known(result.artifact_key, result.artifact_digest, store)


def to_json(view: View) -> str:
    """Return the value of contract.KNOWN_ARTIFACTS: its own artifacts, then those of its namespace."""
    own = filter(None, map(of, (*view.observed.revisions, *view.observed.jobs)))
    known: dict[str, str] = {}
    for artifact in chain(own, view.observed.artifacts):
        if artifact.store == view.store.uri and len(known) < MOST:
            known.setdefault(artifact.key, artifact.digest)
    return json.dumps(dict(sorted(known.items())), separators=(",", ":"))


def _is(pattern: str, value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None
