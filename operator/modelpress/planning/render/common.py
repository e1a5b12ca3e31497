"""What every rendered child has in common."""

from typing import Any

from modelpress.api import names
from modelpress.planning.children import objects
from modelpress.planning.view import Facts


def metadata(facts: Facts, name: str, component: str) -> dict[str, Any]:
    """Return the metadata of a child; `component` is `worker` or `compressor`.

    The owner reference lets garbage collection remove the child. It does not block the owner's deletion: that
    would need rights on the resource's finalizers.
    """
    return {
        "name": name,
        "namespace": facts.key.namespace,
        "labels": names.labels(facts.name, component),
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": facts.name,
                "uid": objects.uid_of(facts.resource),
                "controller": True,
            }
        ],
    }
