"""PodProcess with real commands: what a kubelet would do and say."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local.pod_harness import Harness, all_gone, condition, container, python

DUMP = "import json, os; print(json.dumps(dict(os.environ)), flush=True)"


def test_init_containers_run_in_order_and_share_volumes(harness: Harness) -> None:
    mount = [{"name": "work", "mountPath": "/var/lib/work"}]
    env = [{"name": "FILE", "value": "/var/lib/work/deep/file"}]
    append = (
        "import os, pathlib; p = pathlib.Path(os.environ['FILE']); p.parent.mkdir(exist_ok=True); "
        "p.open('a').write('{}')"
    )
    pod = harness.start(
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
    status = harness.ended(pod)
    assert status["phase"] == "Succeeded"
    assert harness.lines == [("main", "ab")]
    assert [entry["state"]["terminated"]["reason"] for entry in status["initContainerStatuses"]] == [
        "Completed"
    ] * 2
    assert condition(status, "Ready") | {"lastTransitionTime": ""} == {
        "type": "Ready",
        "status": "False",
        "reason": "PodCompleted",
        "lastTransitionTime": "",
    }


def test_a_failing_init_container_ends_a_pod_that_is_never_restarted(harness: Harness) -> None:
    pod = harness.start(
        restartPolicy="Never",
        initContainers=[python("raise SystemExit(66)", "fetch")],
        containers=[python("print('never')")],
    )
    status = harness.ended(pod)
    assert status["phase"] == "Failed"
    assert container(status)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert condition(status, "Initialized")["message"] == "containers with incomplete status: [fetch]"
    assert harness.lines == []


def test_environment_gets_private_paths_and_free_ports(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPRESS_STORE", "leaked")
    harness.secrets["keys"] = {"token": b"abc", "other": b"x"}
    values = {
        "SECRETS": "/etc/modelpress/secrets",
        "ONE_SECRET": "/etc/modelpress/secrets/model",
        "WORK": "/var/lib/modelpress",
        "NEIGHBOUR": "/var/lib/modelpress-not",
        "MODELPRESS_HOST": "::",
        "MODELPRESS_PORT": "8080",
        "MODELPRESS_WORKER_CONFIG": '{"name":"digits","serving":{"drainSeconds":600}}',
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
    pod = harness.start(
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
    harness.ended(pod)
    seen = json.loads(harness.lines[0][1])
    assert Path(seen["SECRETS"], "model", "token").read_bytes() == b"abc"
    assert Path(seen["ONE_SECRET"], "other").read_bytes() == b"x"
    assert Path(seen["WORK"]).is_dir()
    assert Path(seen["WORK"]).is_relative_to(harness.folder)
    assert seen["NEIGHBOUR"] == "/var/lib/modelpress-not"
    assert seen["MODELPRESS_HOST"] == "127.0.0.1"
    assert seen["MODELPRESS_WORKER_CONFIG"] == '{"name":"digits","serving":{"drainSeconds":2}}'
    assert seen["MODELPRESS_PORT"] == str(pod.port("http"))
    assert seen["OTHER_NUMBER"] == "8080"
    assert Path(seen["MODELPRESS_TERMINATION_MESSAGE"]).is_relative_to(harness.folder)
    assert seen["EXPANDED"] == seen["WORK"] + "/x $ $(NOBODY)"
    assert (seen["POD"], seen["LABEL"], seen["TOKEN"]) == ("pod-0", "c", "abc")
    assert "MAYBE" not in seen
    assert "MODELPRESS_STORE" not in seen
    assert pod.port("http") != 8080


def test_a_missing_secret_volume_waits_with_the_kubelets_event_and_then_goes_on(harness: Harness) -> None:
    pod = harness.start(
        restartPolicy="Never",
        volumes=[{"name": "v", "secret": {"secretName": "missing"}}],
        containers=[python("print('ran')")],
    )
    harness.until(pod.events, "an event")
    status, event = pod.status(), pod.events()[0]
    assert status["phase"] == "Pending"
    assert container(status)["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert (event["type"], event["reason"]) == ("Warning", "FailedMount")
    assert event["message"] == 'MountVolume.SetUp failed for volume "v" : secret "missing" not found'
    assert event["involvedObject"]["name"] == "pod-0"
    harness.secrets["missing"] = {}
    assert harness.ended(pod)["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("secret", "message"),
    [(None, 'secret "keys" not found'), ({"a": b""}, "couldn't find key token in Secret team/keys")],
)
def test_a_missing_secret_key_is_a_config_error(harness: Harness, secret: Any, message: str) -> None:
    if secret is not None:
        harness.secrets["keys"] = secret
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}]
    pod = harness.start(restartPolicy="Never", containers=[python("print('ran')", env=env)])
    harness.until(pod.events, "an event")
    assert container(pod.status())["state"] == {
        "waiting": {"reason": "CreateContainerConfigError", "message": message}
    }
    harness.secrets["keys"] = {"token": b"abc"}
    assert harness.ended(pod)["phase"] == "Succeeded"


def test_exit_code_and_termination_message_are_reported(harness: Harness) -> None:
    code = "import os; open(os.environ['OUT'], 'w').write('x' * 5000); raise SystemExit(65)"
    pod = harness.start(
        restartPolicy="Never",
        containers=[
            python(code, env=[{"name": "OUT", "value": "/own/log"}], terminationMessagePath="/own/log"),
        ],
    )
    ended = container(harness.ended(pod))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (65, "Error", "x" * 4096)


def test_the_log_stands_for_a_missing_termination_message_where_asked(harness: Harness) -> None:
    pod = harness.start(
        restartPolicy="Never",
        containers=[
            python("print('why'); raise SystemExit(1)", terminationMessagePolicy="FallbackToLogsOnError"),
        ],
    )
    assert container(harness.ended(pod))["state"]["terminated"]["message"] == "why"


def test_a_kill_that_is_not_ours_is_reported_as_out_of_memory(harness: Harness) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    pod = harness.start(restartPolicy="Never", containers=[python(code)])
    ended = container(harness.ended(pod))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_a_command_that_does_not_exist_is_a_start_error(harness: Harness) -> None:
    pod = harness.start(restartPolicy="Never", containers=[{"name": "main", "command": ["/no/such/program"]}])
    ended = container(harness.ended(pod))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert ended["message"] == 'exec: "/no/such/program": No such file or directory'


def test_a_crashing_container_restarts_at_once_and_then_backs_off(harness: Harness) -> None:
    pod = harness.start(containers=[python("print('try', flush=True); raise SystemExit(3)")])

    def backing_off() -> bool:
        entry = container(pod.status())
        return entry["restartCount"] >= 1 and "waiting" in entry["state"]

    harness.until(backing_off, "CrashLoopBackOff")
    entry = container(pod.status())
    assert entry["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert "restarting failed container=main pod=pod-0_team(1234)" in entry["state"]["waiting"]["message"]
    assert entry["lastState"]["terminated"]["exitCode"] == 3
    assert pod.status()["phase"] == "Running"
    assert condition(pod.status(), "Ready")["reason"] == "ContainersNotReady"
    harness.until(lambda: container(pod.status())["restartCount"] >= 3, "three restarts")
    assert len(harness.lines) >= 3


def test_on_failure_restarts_until_success(harness: Harness) -> None:
    code = (
        "import os, pathlib; p = pathlib.Path(os.environ['W'], 'n'); p.touch(); "
        "p.write_text(p.read_text() + 'x'); "
        "raise SystemExit(len(p.read_text()) < 2)"
    )
    pod = harness.start(
        restartPolicy="OnFailure",
        volumes=[{"name": "w", "emptyDir": {}}],
        containers=[
            python(code, env=[{"name": "W", "value": "/w"}], volumeMounts=[{"name": "w", "mountPath": "/w"}]),
        ],
    )
    status = harness.ended(pod)
    assert status["phase"] == "Succeeded"
    assert container(status)["restartCount"] == 1


def test_stop_drains_and_leaves_no_process(harness: Harness) -> None:
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
    pod = harness.start(containers=[python(code)])
    harness.until(lambda: "running" in container(pod.status())["state"], "running")
    while not harness.lines:
        time.sleep(0.01)
    pod.stop(30)
    assert harness.lines[-1] == ("main", "drained")
    assert pod.status()["phase"] == "Succeeded"
    assert all_gone([int(harness.lines[0][1])])


def test_stop_kills_what_ignores_sigterm(harness: Harness) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('on', flush=True); time.sleep(600)"
    )
    pod = harness.start(containers=[python(code)])
    harness.until(lambda: "running" in container(pod.status())["state"], "running")
    while not harness.lines:
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
