"""Moves the pods of all ModelDeployments, as kubelets would: what a pod says decides what becomes of it.

A Job makes the artifact that the last part of its model's URI stands for, so the same file under another
address has the same content. `invalid` in that part ends it as a bad model does, with `slow` it never ends.
MISFORTUNE in the worker's environment makes every worker crash, with PATIENCE none is ever started.
"""

import contextlib
import hashlib
import json
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx

from modelpress.api import contract, names
from modelpress.api.conditions import Reason
from tests.support.cluster.api import Api, ApiError, Json
from tests.support.cluster.helpers import is_ready, now

MISFORTUNE, PATIENCE = "MISFORTUNE", "PATIENCE"
INVALID = (65, Reason.INVALID_MODEL)
AWAY = (69, Reason.SOURCE_UNAVAILABLE)  # heals: the Job is made again
_ROLES = f"{names.ROLE_LABEL} in ({names.JOB},{names.WORKER})"


class Owner(NamedTuple):
    """A ModelDeployment."""

    namespace: str
    name: str


class Hands:
    """Watches all pods and reports a status for each; may be asked for misfortunes from any thread."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._stopping = threading.Event()
        self._moved: set[str] = set()  # UIDs
        self._ends: dict[Owner, list[tuple[int, Reason]]] = defaultdict(list)  # of the next pods of Jobs
        self.failed: dict[Owner, set[str]] = defaultdict(set)  # why Jobs and revisions failed, in our hands
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="hands")
        self._watch = threading.Thread(target=self._follow, name="hands-watch", daemon=True)

    def __enter__(self) -> "Hands":
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def fail_next_job(self, owner: Owner, end: tuple[int, Reason]) -> None:
        """Let the next pod of its Jobs end badly."""
        self._ends[owner].append(end)

    def forget_misfortunes(self, owner: Owner) -> None:
        """Let the next pods end as they would."""
        self._ends.pop(owner, None)

    def crash_a_worker(self, owner: Owner) -> None:
        """Let a container of a ready worker end and start again."""
        selector = names.selector_text(names.worker_selector(owner.name))
        pods = [pod for pod in self._api.list("pods", owner.namespace, selector) if is_ready(pod)]
        if pods:
            restarts = pods[0]["status"]["containerStatuses"][0]["restartCount"] + 1
            self._report(pods[0], _crashed(restarts))
            self._report(pods[0], _ready(restarts))

    def _follow(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(ApiError, httpx.HTTPError):
                for event, body in self._api.watch("pods", labelSelector=_ROLES):
                    if self._stopping.is_set():
                        return
                    for pod in body["items"] if event == "SYNC" else [body]:
                        if event != "DELETED":
                            self._see(pod)
            self._stopping.wait(0.5)

    def _see(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._moved and not pod["metadata"].get("deletionTimestamp"):
            self._moved.add(uid)
            with contextlib.suppress(RuntimeError):  # the pool has ended
                self._pool.submit(self._move, pod)

    def _move(self, pod: Json) -> None:
        labels = pod["metadata"]["labels"]
        owner = Owner(pod["metadata"]["namespace"], labels[names.NAME_LABEL])
        if labels[names.ROLE_LABEL] == names.JOB:
            self._report(pod, self._end_of_job(owner, _variables(pod)))
        elif MISFORTUNE in _variables(pod):
            self.failed[owner].add(Reason.ROLLOUT_FAILED)
            self._report(pod, _crashed(3))
        elif PATIENCE not in _variables(pod):
            self._report(pod, _ready(0))

    def _end_of_job(self, owner: Owner, variables: dict[str, Any]) -> Json:
        request = json.loads(variables[contract.REQUEST])
        if "invalid" in _file(request):
            return _job_failed(*INVALID)
        if "slow" in _file(request):
            return {"phase": "Running", "containerStatuses": [_container("job", _running(), restarts=0)]}
        ends = self._ends.get(owner)
        if ends:
            code, reason = ends.pop(0)
            self.failed[owner] |= {reason, Reason.JOB_FAILED}  # whoever deletes the pod takes its words away
            return _job_failed(code, reason)
        return _job_ended(0, json.dumps(_result(request)))

    def _report(self, pod: Json, status: Json) -> None:
        metadata = pod["metadata"]
        with contextlib.suppress(ApiError):  # it is gone
            self._api.patch("pods", metadata["namespace"], metadata["name"], {"status": status}, "status")


def _file(request: Json) -> str:
    return str(request["model"]["uri"]).rpartition("/")[2]


def _result(request: Json) -> Json:
    content = [_file(request), request.get("compression"), request.get("optimization"), request["deviceType"]]
    return {
        "recipeHash": request["recipeHash"],
        "sourceDigest": _digest(_file(request)),
        "artifactKey": "key",
        "artifactDigest": _digest(content),
        "originalBytes": 400,
        "compressedBytes": 100,
        **({"scores": _scores(request["evaluation"])} if "evaluation" in request else {}),
    }


def _scores(evaluation: Json) -> Json:
    metric = evaluation.get("metric", "Accuracy")
    return {"metric": metric, "original": 97.5, "compressed": 97.25, "rows": 400}


def _digest(content: object) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _variables(pod: Json) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0].get("env", ())}


def _job_failed(code: int, reason: Reason) -> Json:
    return _job_ended(code, json.dumps({"reason": reason.value, "message": "in our hands"}))


def _job_ended(code: int, message: str) -> Json:
    ended = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "message": message}}
    container = _container("job", ended, restarts=0)
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container]}


def _ready(restarts: int) -> Json:
    return _of_worker("True", _container("worker", _running(), restarts, ready=True))


def _crashed(restarts: int) -> Json:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": now()[:19] + "Z"}}
    return _of_worker("False", _container("worker", waiting, restarts) | {"lastState": ended})


def _running() -> Json:
    return {"running": {"startedAt": now()[:19] + "Z"}}


def _of_worker(ready: str, container: Json) -> Json:
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": now()[:19] + "Z"}
    return {"phase": "Running", "conditions": [condition], "containerStatuses": [container]}


def _container(name: str, state: Json, restarts: int, *, ready: bool = False) -> Json:
    more = {"image": "", "imageID": "", "ready": ready, "restartCount": restarts}
    return {"name": name, "state": state, "lastState": {}, **more}
