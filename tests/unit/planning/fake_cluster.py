"""A tiny pure cluster: it keeps what the planner applies; the tests say what other controllers do."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from modelpress.api import identity, names
from modelpress.api.spec import Spec
from modelpress.planning.children.objects import format_time
from modelpress.planning.plan import decide
from modelpress.planning.types import Body, EventNote, Mark, Observed, Plan, Settings

Json = dict[str, Any]

SETTINGS = Settings(
    compressor_image="compressor:1",
    worker_image="worker:1",
    worker_gpu_image="worker-gpu:1",
    store="oci://registry/models",
)
SPEC: Json = {
    "model": {"uri": "s3://models/digits.keras"},
    "data": {"evaluation": {"uri": "s3://models/test.npz"}},
    "compression": {"quantization": {"scheme": "Int8Dynamic"}},
    "evaluation": {"minScore": "92%", "maxDrop": "0.5%"},
    "devices": {"type": "CPU"},
    "replicas": 2,
}
BEGIN = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ARTIFACT = "sha256:" + "a" * 64
OTHER_ARTIFACT = "sha256:" + "b" * 64
SOURCE = "sha256:" + "c" * 64
KINDS = {
    "Job": "jobs",
    "ControllerRevision": "revisions",
    "Deployment": "deployments",
    "Service": "services",
    "NetworkPolicy": "network_policies",
    "PodDisruptionBudget": "disruption_budgets",
}


class FakeCluster:
    """One ModelDeployment and its objects."""

    def __init__(self, spec: Mapping[str, Any] = SPEC) -> None:
        self.resource: Json = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": "digits", "namespace": "models", "uid": "owner", "generation": 1},
            "spec": copy.deepcopy(dict(spec)),
            "status": {"observedGeneration": -1},
        }
        self.now = BEGIN
        self.objects: dict[tuple[str, str], Json] = {}
        self.pods: dict[str, Json] = {}
        self.events: list[Json] = []
        self.notes: list[EventNote] = []
        self.slots = 1
        self.live = True  # what is observed of pods is read live
        self.settings = SETTINGS
        self._uids = 0

    # the planner's side

    def observe(self) -> Observed:
        of_kind = {
            field: tuple(body for (each, _), body in self.objects.items() if each == kind)
            for kind, field in KINDS.items()
        }
        return replace(
            Observed(resource=self.resource, now=self.now),
            pods=tuple(self.pods.values()),
            events=tuple(self.events),
            live_jobs=frozenset(job["metadata"]["uid"] for job in self._jobs()) if self.live else frozenset(),
            free_job_slots=self.slots,
            **of_kind,  # type: ignore[arg-type]
        )

    def _jobs(self) -> list[Json]:
        return [body for (kind, _), body in self.objects.items() if kind == "Job"]

    def plan(self) -> Plan:
        """Return what the planner would do now."""
        before = copy.deepcopy(self.observe())
        plan = decide(self.observe(), self.settings)
        assert before == self.observe(), "the planner changed its input"
        return plan

    def step(self) -> list[str]:
        """Carry out one plan; return what was done, in order."""
        plan = self.plan()
        done = [self.apply(body) for body in plan.apply]
        for mark in plan.marks:
            self.mark(mark)
        for ref in plan.delete:
            self.objects.pop((ref.kind, ref.name))
            self.pods = {
                name: pod
                for name, pod in self.pods.items()
                if pod["metadata"]["ownerReferences"][0]["uid"] != ref.uid
            }
            done.append(f"delete {ref.kind} {ref.name}")
        if plan.status is not None:
            self.resource["status"] = json.loads(json.dumps(plan.status))
            done.append("status")
        self.notes += plan.events
        return done

    def mark(self, mark: Mark) -> None:
        metadata = self.objects[mark.ref.kind, mark.ref.name]["metadata"]
        metadata["annotations"] = {**metadata.get("annotations", {}), **mark.annotations}

    def settle(self) -> list[list[str]]:
        """Step until nothing is left to do; return the steps."""
        steps = []
        while done := self.step():
            steps.append(done)
            assert len(steps) < 10, f"no end: {steps}"
        assert not self.plan().marks, "marks without end"
        return steps

    # people

    def edit(self, **fields: Any) -> None:
        """Change fields of the spec; None removes one."""
        spec = {**self.resource["spec"], **fields}
        self.resource["spec"] = {key: value for key, value in spec.items() if value is not None}
        self.resource["metadata"]["generation"] += 1

    def annotate(self, annotation: str, value: str) -> None:
        self.resource["metadata"].setdefault("annotations", {})[annotation] = value

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # readings

    @property
    def status(self) -> Json:
        status: Json = self.resource["status"]
        return status

    @property
    def spec(self) -> Spec:
        return Spec.model_validate(self.resource["spec"])

    def condition(self, kind: str) -> Json:
        found: Json = next(entry for entry in self.status["conditions"] if entry["type"] == kind)
        return found

    def says(self, kind: str) -> tuple[str, str]:
        """Return a condition's status and reason."""
        found = self.condition(kind)
        return found["status"], found["reason"]

    def verdict(self) -> dict[str, str]:
        return {entry["type"]: entry["status"] for entry in self.status["conditions"]}

    def only(self, kind: str) -> Json:
        (body,) = [body for (each, _), body in self.objects.items() if each == kind]
        return body

    def names_of(self, kind: str) -> set[str]:
        return {name for each, name in self.objects if each == kind}

    def job_name(self, retry: str | None = None) -> str:
        return names.job_name("digits", identity.recipe_hash(self.spec), retry)

    def revision_name(self, artifact: str = ARTIFACT, restarted_at: str | None = None) -> str:
        return names.revision_name("digits", identity.revision_hash(self.spec, artifact, restarted_at))

    # other controllers

    def job_result(self, **fields: Any) -> str:
        """Return the result of a Job of the expected recipe."""
        scores = {"metric": "Accuracy", "original": 97.5, "compressed": 97.25, "rows": 400}
        result = {
            "recipeHash": fields.get("recipeHash") or identity.recipe_hash(self.spec),
            "sourceDigest": SOURCE,
            "artifactKey": "key",
            "artifactDigest": ARTIFACT,
            "originalBytes": 4000,
            "compressedBytes": 1000,
            "scores": scores,
            **fields,
        }
        return json.dumps(result)

    def job_succeeds(self, message: str | None = None, job: str | None = None, **fields: Any) -> None:
        body = self.objects["Job", job or self.job_name()]
        self.finish_job(body, "Complete", "CompletionsReached")
        terminated = self.terminated(0, message if message is not None else self.job_result(**fields))
        self.add_job_pod(body, "Succeeded", terminated)

    def job_fails(self, code: int, message: str = "", reason: str = "Error", job: str | None = None) -> None:
        body = self.objects["Job", job or self.job_name()]
        self.finish_job(body, "Failed", "PodFailurePolicy")
        self.add_job_pod(body, "Failed", {**self.terminated(code, message), "reason": reason})

    def finish_job(self, body: Json, kind: str, reason: str) -> None:
        body["status"] = {
            "conditions": [
                {
                    "type": kind,
                    "status": "True",
                    "reason": reason,
                    "message": f"Job {reason}",
                    "lastTransitionTime": format_time(self.now),
                }
            ]
        }

    def add_job_pod(self, job: Json, phase: str, terminated: Json | None = None) -> Json:
        running = {"running": {"startedAt": format_time(self.now)}}
        state = {"terminated": terminated} if terminated else running
        pod = self._pod(job, {"phase": phase, "containerStatuses": [{"name": "job", "state": state}]})
        return pod

    def terminated(self, code: int, message: str = "", reason: str = "Error") -> Json:
        return {
            "exitCode": code,
            "message": message,
            "reason": reason if code else "Completed",
            "finishedAt": format_time(self.now),
        }

    def observe_deployment(self, **counts: int) -> Json:
        """Let the Deployment controller see the newest generation, with these pods by number."""
        body = self.objects["Deployment", "digits"]
        body["status"] = {
            "observedGeneration": body["metadata"]["generation"],
            "conditions": [],
            **{key: value for key, value in counts.items() if value},
        }
        return body

    def roll_out(self, ready: bool = True) -> None:
        """Replace all pods by those of the Deployment's template; ready or not."""
        body = self.objects["Deployment", "digits"]
        expected = body["spec"]["replicas"]
        self.pods = {
            name: pod
            for name, pod in self.pods.items()
            if pod["metadata"]["labels"][names.ROLE_LABEL] != names.WORKER
        }
        for _ in range(expected):
            self.add_worker(ready)
        self.observe_deployment(
            replicas=expected, updatedReplicas=expected, availableReplicas=expected if ready else 0
        )

    def add_worker(self, ready: bool, **status: Any) -> Json:
        """Add a pod of the Deployment's template."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        conditions = [condition, {"type": "PodScheduled", "status": "True"}]
        body = self.objects["Deployment", "digits"]
        return self._pod(
            body, {"phase": "Running" if ready else "Pending", "conditions": conditions, **status}
        )

    def crashing_worker(self, container: str, restarts: int, ended: Json) -> Json:
        """Add a pod whose container keeps ending; `ended` is its last terminated state."""
        status = {
            "name": container,
            "ready": False,
            "restartCount": restarts,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}},
            "lastState": {"terminated": ended},
        }
        field = "initContainerStatuses" if container == "fetch" else "containerStatuses"
        return self.add_worker(False, **{field: [status]})

    def deadline_exceeded(self, after: float = 0) -> None:
        """Let the Deployment's progress deadline pass, and the time after it that late pods have."""
        self.wait(after)
        self.stop_progress()
        self.wait(self.spec.progress_deadline_seconds)

    def stop_progress(self) -> None:
        """Let the Deployment controller say that its deadline has passed."""
        self.objects["Deployment", "digits"]["status"]["conditions"] = [
            {
                "type": "Progressing",
                "status": "False",
                "reason": "ProgressDeadlineExceeded",
                "lastUpdateTime": format_time(self.now),
            }
        ]

    def _pod(self, owner: Json, status: Json) -> Json:
        self._uids += 1
        name = f"{owner['metadata']['name']}-{self._uids:03}"
        pod: Json = {
            "metadata": {
                "name": name,
                "namespace": "models",
                "uid": f"uid-{self._uids}",
                "labels": dict(owner["spec"]["template"]["metadata"]["labels"]),
                "creationTimestamp": format_time(self.now),
                "ownerReferences": [
                    {
                        "kind": owner["kind"],
                        "name": owner["metadata"]["name"],
                        "uid": owner["metadata"]["uid"],
                        "controller": True,
                    }
                ],
            },
            "status": status,
        }
        self.pods[name] = pod
        return pod

    def apply(self, body: Body) -> str:
        """Store an object; return what was done."""
        self._uids += 1
        key = (body["kind"], body["metadata"]["name"])
        known = self.objects.get(key)
        stored = json.loads(json.dumps(body))
        before = known["metadata"] if known else {}
        if known and body["kind"] in ("Job", "ControllerRevision"):  # their content cannot be changed
            before["ownerReferences"] = stored["metadata"]["ownerReferences"]
        else:
            self.objects[key] = {
                **stored,
                **({"status": known["status"]} if known and "status" in known else {}),
            }
            self.objects[key]["metadata"] |= {
                "uid": before.get("uid", f"uid-{self._uids}"),
                "generation": before.get("generation", 0) + 1,
                "creationTimestamp": format_time(self.now),
            }
        return f"apply {key[0]} {key[1]}"


def ready_cluster(spec: Mapping[str, Any] = SPEC) -> FakeCluster:
    """Return a cluster whose first revision serves."""
    cluster = FakeCluster(spec)
    cluster.settle()
    cluster.job_succeeds()
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.verdict()["Ready"] == "True"
    return cluster


def compressing_cluster() -> FakeCluster:
    """Return a cluster whose first Job runs."""
    cluster = FakeCluster()
    cluster.settle()
    return cluster


HOW_TO_RETRY = "; to try again, give the annotation modelpress.dev/retry another value"


def said(reason: str, message: str = "why") -> str:
    """Return the termination message of a container that fails."""
    return json.dumps({"reason": reason, "message": message})
