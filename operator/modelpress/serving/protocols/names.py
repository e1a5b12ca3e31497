"""The refusal of a name or version that is not served, worded once for all protocols. Pure functions."""

from modelpress.serving.errors import NotFound
from modelpress.serving.protocols.json_tensors import echo


def no_model(name: str, served: str) -> NotFound:
    """Return what is wrong with a request for the model `name` where the worker serves `served`."""
    return NotFound(f"no model {echo(name)}; this worker serves {served!r}")


def no_version(version: str, name: str, served: str) -> NotFound:
    """Return what is wrong with a request for a version of the model `name` other than the one `served`."""
    return NotFound(f"no version {echo(version)} of {name!r}; this worker serves {served!r}")
