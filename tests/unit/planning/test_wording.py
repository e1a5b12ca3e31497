"""What others say twice is the same text twice; what tells one fault from another stays."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.api.conditions import Reason
from modelpress.planning.explanation import MESSAGE_LIMIT, Explanation, final, tried_again
from modelpress.planning.problems.wording import stable

# Two tellings of one fault, as kubelets, containerd, registries and SDKs write them.
_U1, _U2 = "0a1b2c3d-1111-2222-3333-444455556666", "ffffffff-aaaa-bbbb-cccc-ddddeeee0000"
_C1, _C2 = "d7f8" * 16, "01ab" * 16
SAME: dict[str, tuple[str, str]] = {
    "ports": (
        'failed to do request: Head "https://r.example/v2/": dial tcp: lookup r.example on 10.96.0.10:53: '
        "read udp 10.99.0.1:55841->10.96.0.10:53: i/o timeout",
        'failed to do request: Head "https://r.example/v2/": dial tcp: lookup r.example on 10.96.0.10:53: '
        "read udp 10.99.0.1:40123->10.96.0.10:53: i/o timeout",
    ),
    "ports of IPv6": (
        "read tcp [fd00::1]:40001->[fd00::a]:443: read: connection reset by peer",
        "read tcp [fd00::2]:50999->[fd00::a]:443: read: connection reset by peer",
    ),
    "back-off": (
        f"back-off 10s restarting failed container=worker pod=digits-1_models({_U1})",
        f"back-off 2m40s restarting failed container=worker pod=digits-1_models({_U1})",
    ),
    "pull, then back-off": (
        'rpc error: code = NotFound desc = failed to pull and unpack image "r.example/w:1": not found',
        'Back-off pulling image "r.example/w:1": ErrImagePull: rpc error: code = NotFound desc = failed to '
        'pull and unpack image "r.example/w:1": not found',
    ),
    "sandbox": (
        f'Failed to create pod sandbox: rpc error: failed to setup network for sandbox "{_C1}": no IPs left',
        f'Failed to create pod sandbox: rpc error: failed to setup network for sandbox "{_C2}": no IPs left',
    ),
    "task": (f"task {_C1} not found: not found", f"task {_C2} not found: not found"),
    "sandbox of CRI-O": (
        f"network for pod sandbox k8s_p_models_{_U1}_0({_C1}): error adding pod to CNI network",
        f"network for pod sandbox k8s_p_models_{_U1}_1({_C2}): error adding pod to CNI network",
    ),
    "reserved name": (
        f'name "job_digits-x_models_{_U1}_0" is reserved for "{_C1}"',
        f'name "job_digits-x_models_{_U2}_1" is reserved for "{_C2}"',
    ),
    "pod's folder": (
        f"mkdir /var/lib/kubelet/pods/{_U1}/volumes: no space left on device",
        f"mkdir /var/lib/kubelet/pods/{_U2}/volumes: no space left on device",
    ),
    "pods that are refused": (
        'Error creating: pods "digits-7c9f-x2k4j" is forbidden: exceeded quota: small',
        'Error creating: pods "digits-7c9f-bbbbb" is forbidden: exceeded quota: small',
    ),
    "S3": (
        "AccessDenied: no (Status Code: 403, Request ID: 8F3B1C2D9E0A7F61, Host ID: a1c/def+ghi=)",
        "AccessDenied: no (Status Code: 403, Request ID: 11CB1C2D9E0A7F61, Host ID: x2z/uvw+rst=)",
    ),
    "ECR": (
        f"api error AccessDenied: not authorized, RequestID: {_U1}",
        f"api error AccessDenied: not authorized, RequestID: {_U2}",
    ),
    "Azure": (
        f"The specified container does not exist.\nRequestId:{_U1}\nTime:2026-01-01T10:00:00.1234567Z",
        f"The specified container does not exist.\nRequestId:{_U2}\nTime:2026-01-01T10:00:31.7654321Z",
    ),
    "x-ms": (f'x-ms-request-id: "{_U1}"', f'x-ms-request-id: "{_U2}"'),
    "certificate": (
        "x509: certificate has expired or is not yet valid: current time 2026-01-01T10:00:00Z is after "
        "2025-12-01T00:00:00Z",
        "x509: certificate has expired or is not yet valid: current time 2026-01-01T10:04:12Z is after "
        "2025-12-01T00:00:00Z",
    ),
    "rate": (
        "toomanyrequests: retry-after: 345.678µs, allowed: 44000/minute",
        "toomanyrequests: retry-after: 1.2ms, allowed: 44000/minute",
    ),
    "Python": (
        "<urllib3.connection.HTTPConnection object at 0x7f00aa11>: Failed to establish a new connection",
        "<urllib3.connection.HTTPConnection object at 0x7fbb2244>: Failed to establish a new connection",
    ),
    "date": (
        "clock skew: Thu, 01 Jan 2026 10:00:00 GMT",
        "clock skew: Thu, 01 Jan 2026 10:00:07 GMT",
    ),
    "joined events": (
        "MountVolume.SetUp failed for volume v",
        "(combined from similar events): MountVolume.SetUp failed for volume v",
    ),
    "time taken": ("no answer after 30.001s", "no answer after 30.2s"),
}
KEPT = [
    "the session ID mismatched that of the volume",
    "s3://models/m.keras: the content's sha256 is " + "ab" * 32 + ", the pin says " + "cd" * 32,
    f"s3://models/2026-01-01T10:00:00/{_U1}/run-{_U2}/m.keras: no such object",
    f'MountVolume.SetUp failed for volume "pvc-{_U1}" : rpc error',
    "the store no longer has sha256:" + "ab" * 32 + ": it is made again",
    "image r.example/w@sha256:" + "ab" * 32 + ": not found",
    f"https://login.microsoftonline.com/{_U1}/oauth2: invalid_client",
    "dial tcp 10.96.1.2:5000: connect: connection refused",
    "is after 2025-12-01T00:00:00Z",
    "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).",
    'pods "digits" is forbidden: no',
    "model: sha256 is ab, not cd",
    "revision digits-0123456789: 1 of 2 pods are ready",
    "the Job took longer than job.activeDeadlineSeconds (86400)",
    'Back-off pulling image "r.example/w:1"',
]


@pytest.mark.parametrize("case", SAME)
def test_what_differs_each_time_is_left_out(case: str) -> None:
    one, two = SAME[case]
    assert one != two
    assert stable(one) == stable(two)
    assert len(stable(one)) > 10


@pytest.mark.parametrize("message", KEPT)
def test_what_tells_faults_apart_stays(message: str) -> None:
    assert stable(message) == message


def test_the_end_of_a_certificate_and_the_peer_stay() -> None:
    assert stable(SAME["certificate"][0]).endswith("is after 2025-12-01T00:00:00Z")
    assert "10.96.0.10:53: i/o timeout" in stable(SAME["ports"][0])


@given(st.lists(st.sampled_from([text for pair in SAME.values() for text in pair] + KEPT), max_size=4))
def test_a_stable_text_is_stable(parts: list[str]) -> None:
    once = stable(" ".join(parts))
    assert stable(once) == once


def test_every_note_is_stable_and_its_end_survives_a_long_message() -> None:
    assert Explanation(Reason.POD_CRASHED, SAME["back-off"][0]) == Explanation(
        Reason.POD_CRASHED, SAME["back-off"][1]
    )
    for ending in (final, tried_again):
        found = ending(Explanation(Reason.JOB_FAILED, "x" * 10_000)).message
        assert len(found) == MESSAGE_LIMIT
        assert re.search(r"…; [\w ,./-]+$", found)
