"""A manifest of a stranger on this machine: it writes no file, runs no command, and takes no time."""

import base64
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelpress import cli
from modelpress.api.errors import UsageError
from modelpress.api.spec import Spec
from modelpress.local import documents, secrets, variables
from modelpress.local.run import _own_folder
from modelpress.local.variables import ACCEPTED
from tests.support.command_line import GOOD, refused, with_secret

ROOT = Path(__file__).resolve().parents[3]


def only_error(result: Result, folder: Path) -> str:
    """Return the one line that was said, without the name of the file."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    start = f"error: {folder / 'manifest.yaml'}: "
    assert line.startswith(start)
    return line.removeprefix(start)


# Secrets


KEYS = ("../../x", "/etc/x", "..", ".", "..x", "a/b", "a\\b", "", "a b", "x\n", "é", "a" * 254, "\x1b", "~/x")


@pytest.mark.parametrize("field", ["data", "stringData"])
@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_a_secret_is_the_name_of_one_file(field: str, key: str) -> None:
    body = {"metadata": {"name": "keys"}, field: {"good": "eA==", key: "eA=="}}
    with pytest.raises(UsageError, match=f"^Secret keys: {field}: the key .* a valid config key must"):
        secrets.content(body)


@pytest.mark.parametrize("name", ["run", "compress", "plan"])
def test_a_key_that_leaves_the_folder_is_one_line(name: str, tmp_path: Path) -> None:
    result = refused(name, with_secret(stringData={"../../../escaped": "x"}), tmp_path)
    assert result.exit_code == 64
    assert only_error(result, tmp_path).startswith("Secret keys: stringData: the key '../../../escaped': ")


@pytest.mark.parametrize(
    "key", [".dockerconfigjson", "AWS_REGION", "key.json", "a", "-", "_", "a..b", ".x", "a" * 253]
)
def test_keys_that_an_api_server_accepts(key: str) -> None:
    body = {"metadata": {"name": "s"}, "stringData": {key: "x"}, "data": None}
    assert secrets.content(body) == ("s", {key: b"x"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "../x"}, "Secret: metadata.name: '../x': a Secret needs a name"),
        ({"name": "A"}, "Secret: metadata.name: 'A': "),
        ({"name": None}, "Secret: metadata.name: None: "),
        ({"name": 7}, "Secret: metadata.name: 7: "),
        ({"metadata": "x"}, "Secret: metadata.name: None: "),
        ({"data": [1]}, "Secret keys: data: [1]: must be a map of strings"),
        ({"stringData": "x"}, "Secret keys: stringData: 'x': must be a map of strings"),
        ({"data": {"a": {"b": "c"}}}, "Secret keys: data.a is not a string"),
        ({"stringData": {"a": True}}, "Secret keys: stringData.a is not a string"),
        ({"data": {"a": "%%"}}, "Secret keys: data.a is not base64"),
        ({"data": {"a": "eA"}}, "Secret keys: data.a is not base64"),
        ({"data": {"a": "é"}}, "Secret keys: data.a is not base64"),
        (
            {"stringData": {"a": "x" * (2**20 + 1)}},
            "Secret keys: data: 1048577 bytes, must have at most 1048576",
        ),
        ({"stringData": {str(n): "x" * 2**18 for n in range(5)}}, "Secret keys: data: 1310720 bytes, must"),
    ],
)
def test_secrets_that_an_api_server_refuses(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    result = refused("compress", with_secret(**fields), tmp_path)
    assert result.exit_code == 64
    assert only_error(result, tmp_path).startswith(said)


def test_base64_may_have_line_breaks_and_null_is_empty() -> None:
    encoded = base64.encodebytes(b"x" * 100).decode()
    body = {"metadata": {"name": "s"}, "data": {"a": encoded, "b": None}}
    assert secrets.content(body) == ("s", {"a": b"x" * 100, "b": b""})


@pytest.mark.parametrize("empty", ["", "\n", "\r\n"])
@pytest.mark.parametrize(
    ("endpoint", "credential"), [("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"), ("HF_ENDPOINT", "HF_TOKEN")]
)
def test_credentials_of_the_user_do_not_go_where_a_manifest_says(
    endpoint: str, credential: str, empty: str, tmp_path: Path
) -> None:
    values = {endpoint: "https://elsewhere.example", credential: empty}
    result = refused("compress", with_secret(stringData=values), tmp_path)
    assert result.exit_code == 64
    said = only_error(result, tmp_path)
    assert said.startswith(f"spec.model.secretRef: the Secret keys has {endpoint} and no ")


LONG = "a" * 2**20


@pytest.mark.parametrize(
    "content",
    [
        f"a: *{LONG}",
        f"a: !{LONG} b",
        GOOD.replace("spec:", f"spec:\n  {LONG}: 1", 1),
        GOOD.replace("spec:", f"{LONG}: 1\nspec:", 1),
        with_secret(LONG),
        with_secret("x" + "a" * 2**10, stringData={LONG: "x"}),
        f"apiVersion: v1\nkind: {LONG}\n",
    ],
    ids=["alias", "tag", "field", "field of the root", "name of a Secret", "key of a Secret", "kind"],
)
@pytest.mark.parametrize("name", ["compress", "plan"])
def test_an_error_quotes_no_more_than_a_person_reads(name: str, content: str, tmp_path: Path) -> None:
    result = refused(name, content, tmp_path)
    assert result.exit_code == 64
    assert result.stdout == ""
    assert max(map(len, result.stderr.splitlines())) <= 2200


# folders


def test_the_folder_of_a_run_is_for_the_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with _own_folder(tmp_path / "runs", "digits") as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)


NAMES = ("../x", "/x", "..", ".", "a/b", "A", "a.b", "a" * 41, "x\n", "-x", "")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["name", "namespace"])
def test_names_that_would_be_folders_are_refused(name: str, field: str, tmp_path: Path) -> None:
    metadata = {"name": "digits", field: name}
    text = GOOD.replace("metadata:\n  name: digits\n", f"metadata: {json.dumps(metadata)}\n")
    if field == "namespace" and name in ("", "a" * 41):
        return  # which are namespaces
    result = refused("run", text, tmp_path)
    assert result.exit_code == 64
    assert all(line.count("metadata") for line in result.stderr.splitlines())


@pytest.mark.parametrize("name", ["../x", "/x", "..", "x\n", ""])
@pytest.mark.parametrize("command", ["run", "compress"])
def test_a_reference_to_a_secret_is_a_name(command: str, name: str, tmp_path: Path) -> None:
    text = GOOD.replace('digits.keras"', f'digits.keras", secretRef: {{name: {json.dumps(name)}}}')
    assert refused(command, text, tmp_path).exit_code in (64, 66)


@pytest.mark.parametrize("uri", ["~nobody-of-that-name/x", "a\\0b"])
def test_what_cannot_be_a_path_is_one_line(uri: str, tmp_path: Path) -> None:
    result = refused("compress", GOOD.replace("s3://models/digits.keras", uri), tmp_path)
    assert result.exit_code == 64
    assert result.stderr.startswith("error: ")
    assert "spec.model.uri" in result.stderr
    assert result.stderr.count("\n") == 1


# environment variables

HARMFUL = (
    *(
        "PYTHONWARNINGS",
        "BROWSER",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONHOME",
        "PYTHONINSPECT",
        "PYTHONUSERBASE",
    ),
    *("PYTHONBREAKPOINT", "PYTHONPYCACHEPREFIX", "PYTHONEXECUTABLE", "PYTHONDUMPREFSFILE"),
    *(
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "DYLD_INSERT_LIBRARIES",
        "GCONV_PATH",
        "LOCPATH",
        "NLSPATH",
    ),
    *("MALLOC_CONF", "MALLOC_TRACE", "GLIBC_TUNABLES", "PATH", "HOME", "TMPDIR", "SHELL", "EDITOR", "PAGER"),
    *("GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "OPENSSL_CONF", "OPENSSL_MODULES", "SSLKEYLOGFILE"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
    *(
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ),
    *("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "BOTO_CONFIG"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "STORAGE_EMULATOR_HOST"),
    *("HF_ENDPOINT", "HF_HOME", "HF_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "NETRC", "KUBECONFIG"),
    *("HTTP_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"),
    *(
        "TF_XLA_FLAGS",
        "XLA_FLAGS",
        "TF_PLUGGABLE_DEVICE_LIBRARY_PATH",
        "TF_DUMP_GRAPH_PREFIX",
        "TF_PROFILER_PORT",
    ),
    *("TF_CPP_VLOG_FILENAME", "CUDA_INJECTION64_PATH", "KERAS_BACKEND", "KERAS_HOME", "NUMBA_CACHE_DIR"),
    *("OMP_TOOL_LIBRARIES", "KMP_AFFINITY", "KMP_DUPLICATE_LIB_OK", "GOMP_DEBUG", "OMP_DISPLAY_ENV"),
    *("MODELPRESS_STORE", "MODELPRESS_SECRETS", "MODELPRESS_TERMINATION_MESSAGE", "omp_num_threads", "A"),
)


@pytest.mark.parametrize("part", ["job", "worker"])
@pytest.mark.parametrize("name", HARMFUL)
def test_a_variable_that_is_not_on_the_list_is_refused(name: str, part: str) -> None:
    env = [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": name, "value": "x"}]
    spec = Spec.model_validate({"model": {"uri": "s3://models/m"}, part: {"env": env}})
    (said,) = variables.problems(spec, {})
    assert said.startswith(f"spec.{part}.env[1]: {name} is not taken from a manifest on this machine")
    assert all(accepted in said for accepted in ACCEPTED)
    assert "in a cluster" in said


def test_the_documentation_names_the_list() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    (row,) = [
        line for line in text.splitlines() if line.startswith("| `worker.env` and `job.env`, for `run`")
    ]
    assert set(re.findall("`([A-Z_]+)`", row)) == set(ACCEPTED)


def test_the_command_that_two_variables_ran(tmp_path: Path) -> None:
    shell = f"/bin/sh -c 'id > {tmp_path / 'ran'}' #%s"
    env = [
        {"name": "PYTHONWARNINGS", "value": "all:0:antigravity.x:0:0"},
        {"name": "BROWSER", "value": shell},
    ]
    for name in ("run", "compress"):
        result = refused(name, f"{GOOD}  job: {json.dumps({'env': env})}\n", tmp_path)
        assert result.exit_code == 64
        assert result.stderr.count("\n") == 2
        assert not (tmp_path / "ran").exists()


def checked(env: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    keys = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"a": "1"}}
    text = f"{json.dumps(keys)}\n---\n{GOOD}  worker: {json.dumps({'env': env})}\n"
    (folder / "manifest.yaml").write_text(text)
    return documents.checked(documents.read(folder / "manifest.yaml"))


SOURCES: tuple[dict[str, Any], ...] = (
    {"secretKeyRef": {"name": "keys", "key": "a"}},
    {"secretKeyRef": {"name": "none", "key": "a", "optional": True}},
    {"fieldRef": {"fieldPath": "metadata.name"}},
    {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels['a/b']"}},
)


def test_variables_of_the_list_are_taken(tmp_path: Path) -> None:
    env: list[dict[str, Any]] = [{"name": name, "value": "1"} for name in ACCEPTED]
    env += [{"name": "OMP_NUM_THREADS", "valueFrom": source} for source in SOURCES]
    assert checked(env, tmp_path)["spec"]["worker"]["env"] == env


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"configMapKeyRef": {"name": "a", "key": "b"}}, "valueFrom configMapKeyRef does not work"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "valueFrom resourceFieldRef does not work"),
        ({"fileKeyRef": {"path": "/etc/passwd"}}, "valueFrom fileKeyRef does not work"),
        (
            {"secretKeyRef": {"name": "none", "key": "a"}},
            "the file holds no Secret named 'none' with the key 'a'",
        ),
        (
            {"secretKeyRef": {"name": "keys", "key": "b"}},
            "the file holds no Secret named 'keys' with the key 'b'",
        ),
        (
            {"secretKeyRef": {"key": "a", "optional": True}},
            "the file holds no Secret named '' with the key 'a'",
        ),
        ({"secretKeyRef": "keys"}, "the file holds no Secret named '' with the key ''"),
        ({"fieldRef": {"fieldPath": "spec.containers"}}, "accepted are metadata.name, "),
        ({"fieldRef": ["metadata.name"]}, "accepted are metadata.name, "),
    ],
)
def test_other_sources_of_a_variable_are_refused(source: Any, said: str, tmp_path: Path) -> None:
    text = f"{GOOD}  worker: {json.dumps({'env': [{'name': 'OMP_NUM_THREADS', 'valueFrom': source}]})}\n"
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"a": "1"}}
    result = refused("run", f"{json.dumps(body)}\n---\n{text}", tmp_path)
    assert result.exit_code == 64
    assert said in only_error(result, tmp_path)


def test_run_says_which_settings_of_pods_mean_nothing_here(tmp_path: Path) -> None:
    pods = {"worker": {"image": "a", "env": [], "tolerations": []}, "job": {"image": "a", "labels": {}}}
    text = "".join(f"  {part}: {json.dumps(settings)}\n" for part, settings in pods.items())
    (tmp_path / "manifest.yaml").write_text(GOOD + text)
    body = documents.checked(documents.read(tmp_path / "manifest.yaml"))
    assert documents.unused(body) == ["spec.worker.image", "spec.worker.tolerations", "spec.job.image"]


# files that are no manifests

HUGE = 100 * 2**20
FILES: dict[str, tuple[str | bytes, str]] = {
    "100 MB": (b"#" * HUGE, "longer than a manifest may be: 2097152 bytes"),
    "100 MB in one line": (b"a: " + b"x" * HUGE, "longer than a manifest may be: 2097152 bytes"),
    "lists": ("a: " + "[" * 20_000, "not a YAML manifest: line 1: more than 100 lists and maps"),
    "documents": ("---\na: 1\n" * 3_000, "not a YAML manifest: line 202: more than 100 documents"),
    "digits": ("a: " + "9" * 6_000, "apiVersion not set"),
    "NUL": ("a: 1\nb: \0", "not a YAML manifest: line 2: the character U+0000 is not allowed"),
    "an escape sequence": ("\x1b[2J: 1", "not a YAML manifest: line 1: the character U+001B is not allowed"),
    "UTF-16": (GOOD.encode("utf-16"), "line 1: is not text in UTF-8"),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), "not a YAML manifest: line 1: the character U+0000"),
    "Latin-1": (b"a: 1\nb: \xe9\n", "line 2: is not text in UTF-8"),
    "a circle": ("a: &a\n  b: *a\n", "not a YAML manifest: line 1: an anchor contains itself"),
    "a tag": ("a: !!python/object/apply:os.system [id]", "apiVersion not set"),
    "a tag of a scalar": ("a: !<!%1b[2J> b", "not a YAML manifest: line 1: the tag !\\x1b[2J is not"),
    "binary": (os.urandom(64).replace(b"\n", b"") + b"\xff\n", "line 1: "),
}


@pytest.mark.parametrize("name", ["run", "plan", "compress"])
@pytest.mark.parametrize("title", FILES)
def test_a_file_that_is_no_manifest_is_one_line(title: str, name: str, tmp_path: Path) -> None:
    content, said = FILES[title]
    result = refused(name, content, tmp_path)
    assert result.exit_code == 64
    assert only_error(result, tmp_path).startswith(said)


def test_a_manifest_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    result = refused("run", ("\ufeff" + GOOD + "  replica: 1\n").encode(), tmp_path)
    assert only_error(result, tmp_path) == 'unknown field "spec.replica"'


@pytest.mark.parametrize("name", ["run", "plan", "compress"])
def test_what_is_said_of_a_manifest_has_an_end(name: str, tmp_path: Path) -> None:
    many = "".join(f"  replica{number}: 1\n" for number in range(1_000))
    result = refused(name, GOOD + many, tmp_path)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.exit_code == 64
    assert len(errors) == 51
    assert errors[-1].endswith(": and 950 more")
    long = refused(name, f"{GOOD}  ? {'x' * 100_000}\n  : 1\n", tmp_path)
    assert long.exit_code == 64
    assert len(only_error(long, tmp_path)) == 2_000


def test_a_file_that_never_ends_is_refused() -> None:
    result = CliRunner().invoke(cli.main, ["plan", "-f", "/dev/zero"])
    assert (result.exit_code, result.stderr.count("\n")) == (64, 1)
