"""What a namespace may do in the registry. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_REPOSITORY = "repository"
_PULL, _PUSH = "pull", "push"  # and never "delete": what one pod serves no other may take away


@dataclass(frozen=True)
class Rule:
    """Who may do what."""

    root: str  # repositories are ROOT/NAMESPACE
    anonymous_pull: bool = False  # whether everybody may read everything

    def granted(self, scopes: Sequence[str], namespace: str | None) -> list[dict[str, Any]]:
        """Return the `access` claim for what is asked for, `repository:NAME:ACTIONS`; None: nobody known."""
        asked = (scope.split(":") for text in scopes for scope in text.split())
        found = (self._of(parts, namespace) for parts in asked if len(parts) == 3)
        return [access for access in found if access["actions"]]

    def _of(self, scope: Sequence[str], namespace: str | None) -> dict[str, Any]:
        kind, name, actions = scope
        allowed: tuple[str, ...] = (_PULL,) if self.anonymous_pull else ()
        if namespace is not None and name == f"{self.root}/{namespace}":
            allowed = (_PULL, _PUSH)
        if kind != _REPOSITORY:
            allowed = ()
        chosen = [action for action in actions.split(",") if action in allowed]
        return {"type": kind, "name": name, "actions": chosen}


def namespace_of(user: str) -> str | None:
    """Return the namespace of a ServiceAccount by its user name; None: it is none.

    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#service-account-tokens
    """
    parts = user.split(":")
    is_account = len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]
    return parts[2] if is_account and parts[2] else None
