"""Requests about one object that the planner rendered, and its server-side apply.

An apply writes what is ours and leaves the rest. Whether the rest may stay is asked of the record of owners
as it was just before: afterwards it no longer tells. So an apply meets the object that was looked at.
"""

from collections.abc import Mapping
from typing import Any

from modelpress.api.names import FIELD_MANAGER
from modelpress.controllers.cluster import Stale
from modelpress.controllers.refusal import require_ours
from modelpress.controllers.resources import BY_KIND
from modelpress.controllers.rest import ApiError, Request, Rest
from modelpress.planning.children import managed_fields
from modelpress.planning.children.in_place import made_whole, put_right
from modelpress.planning.types import Body

OURS = {"fieldManager": FIELD_MANAGER}
FORCED = {**OURS, "force": "true"}
_TRIES = 5  # others write, too: a controller the status, while pods come up


class ObjectClient:
    """Sends requests about objects by their bodies; safe to use from several threads."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def send(
        self, verb: str, named: Body, content: Body | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a request about the object that `named` names. Raises ApiError."""
        metadata = named["metadata"]
        name = None if verb == "create" else metadata["name"]
        resource = BY_KIND[named["kind"]]
        return self._rest.send(
            Request(verb, resource, metadata["namespace"], name, query=query or {}, body=content)
        )

    def check_name(self, body: Body) -> None:
        """Raise TemplateRefused where the name is taken by an object without our label."""
        try:
            existing = self.send("get", body)
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            require_ours(existing, body)

    def apply(self, body: Body, known: Body | None) -> tuple[Body | None, dict[str, Any]]:
        """Apply an object, of which `known` was seen; return the one that was met, and what it is now.

        Raises ApiError, 409 where others write all the time; TemplateRefused where the name is not ours;
        Stale where it was seen and is gone.
        """
        if known is None:
            self.check_name(body)
            return None, self.send("patch", body, body, FORCED)
        for _ in range(_TRIES - 1):
            try:
                return known, self._apply_to(known, body)
            except ApiError as error:
                if error.status != 409:
                    raise
            known = self._live(body)
        return known, self._apply_to(known, body)

    def _apply_to(self, known: Body, body: Body) -> dict[str, Any]:
        if managed_fields.applied(known) is None:
            applied = self._replace(body)
        else:
            try:
                applied = self._apply_at(known, body)
            except ApiError as error:
                if error.status != 422:
                    raise
                # What another manager put into our lists may clash with ours, such as two ports of one name,
                # or leave nothing valid without it.
                applied = self._replace(body)
        rest = put_right(body, applied, known)  # applying leaves what others added beside ours
        return applied if rest is None else self.send("update", body, rest, OURS)

    def _replace(self, body: Body) -> dict[str, Any]:
        """Put our spec in the place of all, whoever set it, and then apply it."""
        whole = self.send("update", body, made_whole(body, self._live(body)), OURS)
        return self._apply_at(whole, body)

    def _apply_at(self, seen: Body, body: Body) -> dict[str, Any]:
        """Apply a body to this very object at this version; ApiError 409 where it is another by now."""
        mark = {key: seen["metadata"][key] for key in ("uid", "resourceVersion")}
        return self.send("patch", body, {**body, "metadata": {**body["metadata"], **mark}}, FORCED)

    def _live(self, body: Body) -> dict[str, Any]:
        try:
            found = self.send("get", body)
        except ApiError as error:
            if error.status != 404:
                raise
            raise Stale from error
        require_ours(found, body)
        return found
