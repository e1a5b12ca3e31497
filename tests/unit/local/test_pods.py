"""PodProcess with real commands: what a kubelet would do and say."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from modelpress.local.pods import PodProcess

DUMP = "import json, os; print(json.dumps(dict(os.environ)), flush=True)"
SERVER = textwrap.dedent(
    """
    import http.server, os, pathlib, signal, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            good = not pathlib.Path(self.path.strip("/")).exists()
            self.send_response(200 if good else 503)
            self.end_headers()
        def log_message(self, *args): pass
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
    address = os.environ["MODELPRESS_HOST"], int(os.environ["MODELPRESS_PORT"])
    http.server.HTTPServer(address, Handler).serve_forever()
    """
)


class HastyPod(PodProcess):
    first_backoff: ClassVar[float] = 0.3


class Harness:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets: dict[str, dict[str, bytes]] = {}
        self.lines: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.pods: list[PodProcess] = []

    def on_change(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def start(self, **spec: Any) -> PodProcess:
        name = f"pod-{len(self.pods)}"
        body = {
            "metadata": {"name": name, "namespace": "team", "uid": "1234", "labels": {"a/b": "c"}},
            "spec": spec,
        }
        pod = HastyPod(
            body,
            self.folder / name,
            self.secrets.get,
            self.on_change,
            on_line=lambda container, line: self.lines.append((container, line)),
        )
        self.pods.append(pod)
        pod.start()
        return pod

    def until(self, condition: Any, what: str) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout=60), (
                f"never: {what}; {[p.status() for p in self.pods]}"
            )

    def ended(self, pod: PodProcess) -> dict[str, Any]:
        self.until(lambda: pod.finished, "finished")
        return pod.status()


@pytest.fixture
def run(tmp_path: Path) -> Any:
    harness = Harness(tmp_path)
    yield harness
    for pod in harness.pods:
        pod.stop(0)


def python(code: str, name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "any", "command": [sys.executable, "-c", code], **fields}


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in status["conditions"] if entry["type"] == kind)
    return found


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # nobody may be there to reap it
    except psutil.NoSuchProcess:
        return False


def all_gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 30
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(runs, pids))


def container(status: dict[str, Any]) -> dict[str, Any]:
    only: dict[str, Any] = status["containerStatuses"][0]
    return only


def test_init_containers_run_in_order_and_share_volumes(run: Harness) -> None:
    mount = [{"name": "work", "mountPath": "/var/lib/work"}]
    env = [{"name": "FILE", "value": "/var/lib/work/deep/file"}]
    append = (
        "import os, pathlib; p = pathlib.Path(os.environ['FILE']); p.parent.mkdir(exist_ok=True); "
        "p.open('a').write('{}')"
    )
    pod = run.start(
        restartPolicy="Never",
        volumes=[{"name": "work", "emptyDir": {}}],
        initContainers=[
            python(append.format("a"), "one", env=env, volumeMounts=mount),
            python(append.format("b"), "two", env=env, volumeMounts=mount),
        ],
        containers=[
            python("import os; print(open(os.environ['FILE']).read())", env=env, volumeMounts=mount),
        ],
    )
    status = run.ended(pod)
    assert status["phase"] == "Succeeded"
    assert run.lines == [("main", "ab")]
    assert [entry["state"]["terminated"]["reason"] for entry in status["initContainerStatuses"]] == [
        "Completed"
    ] * 2
    assert condition(status, "Ready") | {"lastTransitionTime": ""} == {
        "type": "Ready",
        "status": "False",
        "reason": "PodCompleted",
        "lastTransitionTime": "",
    }


def test_a_failing_init_container_ends_a_pod_that_is_never_restarted(run: Harness) -> None:
    pod = run.start(
        restartPolicy="Never",
        initContainers=[python("raise SystemExit(66)", "fetch")],
        containers=[python("print('never')")],
    )
    status = run.ended(pod)
    assert status["phase"] == "Failed"
    assert container(status)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert condition(status, "Initialized")["message"] == "containers with incomplete status: [fetch]"
    assert run.lines == []


def test_environment_gets_private_paths_and_free_ports(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPRESS_STORE", "leaked")
    run.secrets["keys"] = {"token": b"abc", "other": b"x"}
    values = {
        "SECRETS": "/etc/modelpress/secrets",
        "ONE_SECRET": "/etc/modelpress/secrets/model",
        "WORK": "/var/lib/modelpress",
        "NEIGHBOUR": "/var/lib/modelpress-not",
        "MODELPRESS_HOST": "0.0.0.0",
        "MODELPRESS_PORT": "8080",
        "OTHER_NUMBER": "8080",
        "MODELPRESS_TERMINATION_MESSAGE": "/dev/termination-log",
        "EXPANDED": "$(WORK)/x $$ $(NOBODY)",
    }
    env = [
        *({"name": key, "value": value} for key, value in values.items()),
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "token", "optional": True}}},
    ]
    pod = run.start(
        restartPolicy="Never",
        volumes=[{"name": "work", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "keys"}}],
        containers=[
            python(
                DUMP,
                env=env,
                ports=[{"name": "http", "containerPort": 8080}],
                volumeMounts=[
                    {"name": "work", "mountPath": "/var/lib/modelpress"},
                    {"name": "s", "mountPath": "/etc/modelpress/secrets/model"},
                ],
            )
        ],
    )
    run.ended(pod)
    seen = json.loads(run.lines[0][1])
    assert Path(seen["SECRETS"], "model", "token").read_bytes() == b"abc"
    assert Path(seen["ONE_SECRET"], "other").read_bytes() == b"x"
    assert Path(seen["WORK"]).is_dir()
    assert Path(seen["WORK"]).is_relative_to(run.folder)
    assert seen["NEIGHBOUR"] == "/var/lib/modelpress-not"
    assert seen["MODELPRESS_HOST"] == "127.0.0.1"
    assert seen["MODELPRESS_PORT"] == str(pod.port("http"))
    assert seen["OTHER_NUMBER"] == "8080"
    assert Path(seen["MODELPRESS_TERMINATION_MESSAGE"]).is_relative_to(run.folder)
    assert seen["EXPANDED"] == seen["WORK"] + "/x $ $(NOBODY)"
    assert (seen["POD"], seen["LABEL"], seen["TOKEN"]) == ("pod-0", "c", "abc")
    assert "MAYBE" not in seen
    assert "MODELPRESS_STORE" not in seen
    assert pod.port("http") != 8080


def test_a_missing_secret_volume_waits_with_the_kubelets_event_and_then_goes_on(run: Harness) -> None:
    pod = run.start(
        restartPolicy="Never",
        volumes=[{"name": "v", "secret": {"secretName": "missing"}}],
        containers=[python("print('ran')")],
    )
    run.until(pod.events, "an event")
    status, event = pod.status(), pod.events()[0]
    assert status["phase"] == "Pending"
    assert container(status)["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert (event["type"], event["reason"]) == ("Warning", "FailedMount")
    assert event["message"] == 'MountVolume.SetUp failed for volume "v" : secret "missing" not found'
    assert event["involvedObject"]["name"] == "pod-0"
    run.secrets["missing"] = {}
    assert run.ended(pod)["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("secret", "message"),
    [(None, 'secret "keys" not found'), ({"a": b""}, "couldn't find key token in Secret team/keys")],
)
def test_a_missing_secret_key_is_a_config_error(run: Harness, secret: Any, message: str) -> None:
    if secret is not None:
        run.secrets["keys"] = secret
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}]
    pod = run.start(restartPolicy="Never", containers=[python("print('ran')", env=env)])
    run.until(pod.events, "an event")
    assert container(pod.status())["state"] == {
        "waiting": {"reason": "CreateContainerConfigError", "message": message}
    }
    run.secrets["keys"] = {"token": b"abc"}
    assert run.ended(pod)["phase"] == "Succeeded"


def test_exit_code_and_termination_message_are_reported(run: Harness) -> None:
    code = "import os; open(os.environ['OUT'], 'w').write('x' * 5000); raise SystemExit(65)"
    pod = run.start(
        restartPolicy="Never",
        containers=[
            python(code, env=[{"name": "OUT", "value": "/own/log"}], terminationMessagePath="/own/log"),
        ],
    )
    ended = container(run.ended(pod))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (65, "Error", "x" * 4096)


def test_the_log_stands_for_a_missing_termination_message_where_asked(run: Harness) -> None:
    pod = run.start(
        restartPolicy="Never",
        containers=[
            python("print('why'); raise SystemExit(1)", terminationMessagePolicy="FallbackToLogsOnError"),
        ],
    )
    assert container(run.ended(pod))["state"]["terminated"]["message"] == "why"


def test_a_kill_that_is_not_ours_is_reported_as_out_of_memory(run: Harness) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    pod = run.start(restartPolicy="Never", containers=[python(code)])
    ended = container(run.ended(pod))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_a_command_that_does_not_exist_is_a_start_error(run: Harness) -> None:
    pod = run.start(restartPolicy="Never", containers=[{"name": "main", "command": ["/no/such/program"]}])
    ended = container(run.ended(pod))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert ended["message"] == 'exec: "/no/such/program": No such file or directory'


def test_a_crashing_container_restarts_at_once_and_then_backs_off(run: Harness) -> None:
    pod = run.start(containers=[python("print('try', flush=True); raise SystemExit(3)")])

    def backing_off() -> bool:
        entry = container(pod.status())
        return entry["restartCount"] >= 1 and "waiting" in entry["state"]

    run.until(backing_off, "CrashLoopBackOff")
    entry = container(pod.status())
    assert entry["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert "restarting failed container=main pod=pod-0_team(1234)" in entry["state"]["waiting"]["message"]
    assert entry["lastState"]["terminated"]["exitCode"] == 3
    assert pod.status()["phase"] == "Running"
    assert condition(pod.status(), "Ready")["reason"] == "ContainersNotReady"
    run.until(lambda: container(pod.status())["restartCount"] >= 3, "three restarts")
    assert len(run.lines) >= 3


def test_on_failure_restarts_until_success(run: Harness) -> None:
    code = (
        "import os, pathlib; p = pathlib.Path(os.environ['W'], 'n'); p.touch(); "
        "p.write_text(p.read_text() + 'x'); "
        "raise SystemExit(len(p.read_text()) < 2)"
    )
    pod = run.start(
        restartPolicy="OnFailure",
        volumes=[{"name": "w", "emptyDir": {}}],
        containers=[
            python(code, env=[{"name": "W", "value": "/w"}], volumeMounts=[{"name": "w", "mountPath": "/w"}]),
        ],
    )
    status = run.ended(pod)
    assert status["phase"] == "Succeeded"
    assert container(status)["restartCount"] == 1


def probe(path: str, **fields: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 0.1, "failureThreshold": 2, **fields}


def server(**fields: Any) -> dict[str, Any]:
    env = [{"name": "MODELPRESS_PORT", "value": "8080"}, {"name": "MODELPRESS_HOST", "value": "0.0.0.0"}]
    return python(SERVER, env=env, ports=[{"name": "http", "containerPort": 8080}], **fields)


def test_readiness_follows_its_probe(run: Harness) -> None:
    pod = run.start(
        containers=[
            server(startupProbe=probe("/never", failureThreshold=600), readinessProbe=probe("/unready"))
        ]
    )
    run.until(lambda: container(pod.status())["ready"], "ready")
    assert condition(pod.status(), "Ready")["status"] == "True"
    assert container(pod.status())["started"]
    flag = run.folder / "pod-0" / "main" / "unready"
    flag.touch()
    run.until(lambda: not container(pod.status())["ready"], "not ready")
    assert condition(pod.status(), "Ready")["status"] == "False"
    assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in [
        e["message"] for e in pod.events()
    ]
    flag.unlink()
    run.until(lambda: container(pod.status())["ready"], "ready again")
    assert container(pod.status())["restartCount"] == 0


def test_a_failing_liveness_probe_restarts_the_container(run: Harness) -> None:
    pod = run.start(
        containers=[server(startupProbe=probe("/never", failureThreshold=600), livenessProbe=probe("/dead"))]
    )
    run.until(lambda: container(pod.status())["started"], "started")
    (run.folder / "pod-0" / "main" / "dead").touch()
    run.until(lambda: container(pod.status())["restartCount"] >= 1, "a restart")
    assert container(pod.status())["lastState"]["terminated"]["exitCode"] == 0
    assert "Killing" in {event["reason"] for event in pod.events()}


def test_a_startup_probe_that_never_passes_restarts_the_container(run: Harness) -> None:
    (run.folder / "pod-0" / "main").mkdir(parents=True)
    (run.folder / "pod-0" / "main" / "late").touch()
    pod = run.start(containers=[server(startupProbe=probe("/late"))])
    run.until(lambda: container(pod.status())["restartCount"] >= 1, "a restart")
    assert not container(pod.status())["started"]
    assert not container(pod.status())["ready"]


def test_a_probe_of_an_unknown_port_is_refused(run: Harness) -> None:
    with pytest.raises(KeyError, match="http"):
        run.start(containers=[python("", readinessProbe=probe("/"))])


def test_stop_drains_and_leaves_no_process(run: Harness) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "def end(*args):\n"
        "    print('drained', flush=True)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    pod = run.start(containers=[python(code)])
    run.until(lambda: "running" in container(pod.status())["state"], "running")
    while not run.lines:
        time.sleep(0.01)
    pod.stop(30)
    assert run.lines[-1] == ("main", "drained")
    assert pod.status()["phase"] == "Succeeded"
    assert all_gone([int(run.lines[0][1])])


def test_stop_kills_what_ignores_sigterm(run: Harness) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('on', flush=True); time.sleep(600)"
    )
    pod = run.start(containers=[python(code)])
    run.until(lambda: "running" in container(pod.status())["state"], "running")
    while not run.lines:
        time.sleep(0.01)
    pod.stop(0.2)
    ended = container(pod.status())["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")
    assert pod.status()["phase"] == "Failed"


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import pathlib, sys, time
        from modelpress.local.pods import PodProcess
        code = ("import os, subprocess, sys, time; c = subprocess.Popen(['sleep', '600']); "
                "print(os.getpid(), c.pid, flush=True); time.sleep(600)")
        body = {{"metadata": {{"name": "p"}}, "spec": {{"containers": [
            {{"name": "main", "command": [sys.executable, "-c", code]}}]}}}}
        PodProcess(body, pathlib.Path({str(tmp_path)!r}), lambda name: None, lambda: None,
                   on_line=lambda c, line: print(line, flush=True)).start()
        time.sleep(600)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert all_gone(pids)
