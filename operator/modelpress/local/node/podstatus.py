"""A v1 PodStatus as the kubelet writes it, from the states of a pod's containers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from modelpress.planning.types import Body


@dataclass(frozen=True)
class ContainerState:
    """One container, with `state` and `last_state` as in a v1 ContainerStatus."""

    name: str
    image: str
    state: Body = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Body = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""

    @property
    def exit_code(self) -> int | None:
        """Exit code of a container that has ended for good; None otherwise."""
        ended = self.state.get("terminated")
        return ended["exitCode"] if ended else None


def timestamp(moment: datetime) -> str:
    """Return a time as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def phase(init: Sequence[ContainerState], main: Sequence[ContainerState], finished: bool) -> str:
    """Return the pod's phase; `finished` says that no container will be started again."""
    if finished:
        failed = any(state.exit_code != 0 for state in (*init, *main) if state.exit_code is not None)
        ran = all(state.exit_code is not None for state in main)
        return "Succeeded" if ran and not failed else "Failed"
    begun = any(state.restarts or "waiting" not in state.state for state in main)
    return "Running" if begun else "Pending"


def pod_status(
    init: Sequence[ContainerState],
    main: Sequence[ContainerState],
    *,
    finished: bool,
    previous: Body,
    now: datetime,
) -> dict[str, Any]:
    """Return the status; `previous` gives the transition times of conditions that stay."""
    chosen = phase(init, main, finished)
    return {
        "phase": chosen,
        "startTime": previous.get("startTime") or timestamp(now),
        "conditions": _conditions(init, main, chosen, previous.get("conditions", ()), timestamp(now)),
        **({"initContainerStatuses": [_container(state, init=True) for state in init]} if init else {}),
        "containerStatuses": [_container(state, init=False) for state in main],
    }


def _container(state: ContainerState, *, init: bool) -> dict[str, Any]:
    # an init container counts as ready when it has done its work
    return {
        "name": state.name,
        "image": state.image,
        "imageID": "",
        "ready": state.exit_code == 0 if init else state.ready,
        "started": state.started,
        "restartCount": state.restarts,
        "state": dict(state.state),
        "lastState": dict(state.last_state),
        **({"containerID": state.container_id} if state.container_id else {}),
    }


def _conditions(
    init: Sequence[ContainerState],
    main: Sequence[ContainerState],
    chosen: str,
    previous: Sequence[Body],
    now: str,
) -> list[dict[str, Any]]:
    pending = [state.name for state in init if state.exit_code != 0]
    unready = [state.name for state in main if not state.ready]
    initialized: dict[str, str] = {"status": "True"}
    ready: dict[str, str] = {"status": "True"}
    if pending:
        initialized = {
            "status": "False",
            "reason": "ContainersNotInitialized",
            "message": f"containers with incomplete status: [{' '.join(pending)}]",
        }
    if chosen == "Succeeded":
        ready = {"status": "False", "reason": "PodCompleted"}
        initialized["reason"] = "PodCompleted"
    elif chosen == "Failed":
        ready = {"status": "False", "reason": "PodFailed"}
    elif unready:
        ready = {
            "status": "False",
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(unready)}]",
        }
    contents = {
        "PodScheduled": {"status": "True"},
        "Initialized": initialized,
        "ContainersReady": ready,
        "Ready": ready,
    }
    known = {condition["type"]: condition for condition in previous}
    return [
        {"type": kind, **content, "lastTransitionTime": _since(known.get(kind), content["status"], now)}
        for kind, content in contents.items()
    ]


def _since(condition: Mapping[str, Any] | None, status: str, now: str) -> str:
    same = condition is not None and condition["status"] == status
    return str(condition["lastTransitionTime"]) if condition and same else now
