"""The command line: help, verdicts, errors of one line, exit codes."""

import base64
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from modelpress import cli
from modelpress.api.crd import to_yaml
from modelpress.api.errors import UsageError
from modelpress.api.spec import Spec
from modelpress.api.validation import manifest, support
from modelpress.local import documents
from tests.support import manifest_table
from tests.support.command_line import GOOD, TWO_PODS, modelpress, write

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = (
    "run",
    "plan",
    "compress",
    "serve",
    "report",
    "crd",
    "operator",
    "registry-tokens",
    "job",
    "fetch",
)


def test_there_are_no_other_commands() -> None:
    assert sorted(cli.main.commands) == sorted(COMMANDS)


def test_without_a_command_the_help_is_shown() -> None:
    result = modelpress()
    assert result.exit_code == 0
    assert result.output == modelpress("--help").output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    result = modelpress(command, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"modelpress {command}" in result.output.split("Example:")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["press"], "No such command 'press'."),
        (["plan"], "Missing option '-f' / '--filename'."),
        (["crd", "extra"], "Got unexpected extra argument (extra)"),
        (
            ["compress", "-f", __file__, "-o", __file__],
            f"Invalid value for '-o' / '--output': Directory '{__file__}' is a file.",
        ),
        (
            ["run", "-f", "x", "--port", "http"],
            "Invalid value for '--port': 'http' is not a valid integer range.",
        ),
        (
            ["serve", "d", "--data", "17"],
            "Invalid value for '--data': 17 is not in the range 1<=x<=16.",
        ),
        (["serve"], "Missing argument 'DIRECTORY'."),
    ],
)
def test_a_wrong_command_line_is_one_line_and_64(arguments: list[str], message: str) -> None:
    result = modelpress(*arguments)
    assert result.exit_code == 64
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1


def test_a_missing_file_is_66(tmp_path: Path) -> None:
    for command in (["plan"], ["run"], ["compress", "-o", str(tmp_path / "out")]):
        result = modelpress(*command, "-f", str(tmp_path / "none.yaml"))
        assert result.exit_code == 66
        assert result.stderr == f"error: {tmp_path / 'none.yaml'}: no such file\n"


def test_crd_prints_the_crd() -> None:
    assert modelpress("crd").output == to_yaml()


@pytest.mark.parametrize("row", manifest_table.rows(), ids=lambda row: row.title)
def test_plan_gives_the_verdict_of_the_table(row: manifest_table.Row, tmp_path: Path) -> None:
    path = write(tmp_path, row.text)
    result = modelpress("plan", "-f", path)
    expected = row.errors or unsupported(row.text)
    assert result.exit_code == (64 if expected else 0), result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {path}: {line}" for line in expected]
    assert bool(result.stdout) != bool(expected)


def unsupported(text: str) -> list[str]:
    """Return what the operator says of a manifest that the API server accepts."""
    (body,) = manifest.load(text)
    missing = support.unsupported(Spec.model_validate(manifest.apply_defaults(body)["spec"]))
    return [f"NotSupportedYet: {'; '.join(missing)}"] if missing else []


def test_plan_prints_the_objects(tmp_path: Path) -> None:
    result = modelpress("plan", "-f", write(tmp_path, GOOD))
    bodies = list(yaml.safe_load_all(result.stdout))
    assert {"Job", "Deployment", "Service", "ControllerRevision"} <= {body["kind"] for body in bodies}
    assert {body["metadata"]["namespace"] for body in bodies} == {"default"}
    assert "&id" not in result.stdout


def test_plan_refuses_what_is_not_supported_yet(tmp_path: Path) -> None:
    result = modelpress("plan", "-f", write(tmp_path, GOOD + TWO_PODS))
    assert (result.exit_code, result.stdout) == (64, "")
    assert "NotSupportedYet: spec.parallelism.podsPerReplica: a value above 1 is part of" in result.stderr


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("worker: {annotations: {devices.crio.io: /dev/fuse}}", "spec.worker.annotations: devices.crio.io"),
        ("job: {env: [{name: HOME, value: /}]}", "spec.job.env: HOME is set by ModelPress"),
    ],
)
def test_plan_refuses_what_the_operator_refuses(spec: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, manifest_table.manifest(spec=spec))
    result = modelpress("plan", "-f", path)
    assert result.exit_code == 64
    assert result.stderr.startswith(f"error: {path}: InvalidPodSettings: {message}")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_plan_refuses_local_paths_and_says_where_they_work(tmp_path: Path) -> None:
    result = modelpress("plan", "-f", write(tmp_path, GOOD.replace("s3://models/", "./")))
    assert result.exit_code == 64
    assert "paths of this machine are for `modelpress run` and `compress`" in result.stderr


def test_plan_reads_the_sample() -> None:
    result = modelpress("plan", "-f", str(ROOT / "manifests/samples/digits.yaml"))
    assert (result.exit_code, result.stderr) == (0, "")


def test_several_documents(tmp_path: Path) -> None:
    other = GOOD.replace("digits", "letters")
    secret = "kind: Secret\napiVersion: v1\nmetadata: {name: s}\n"
    path = write(tmp_path, f"{secret}---\n{GOOD}---\n{other}")
    assert modelpress("plan", "-f", path).exit_code == 0
    result = modelpress("run", "-f", path)
    assert result.exit_code == 64
    assert result.stderr == f"error: {path}: holds 2 documents of kind ModelDeployment, needed is one\n"


def test_a_manifest_that_is_no_yaml_is_one_line_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "spec: [1\n")
    for command in (["plan"], ["run"], ["compress", "-o", str(tmp_path / "out")]):
        result = modelpress(*command, "-f", path)
        assert result.exit_code == 64
        assert result.stderr.startswith(f"error: {path}: not a YAML manifest: line 2: ")
        assert result.stderr.count("\n") == 1


def test_a_manifest_comes_from_standard_input() -> None:
    result = CliRunner().invoke(cli.main, ["plan", "-f", "-"], input=GOOD)
    assert result.exit_code == 0
    assert "kind: Deployment" in result.stdout


def test_a_name_that_the_api_server_would_make(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("name: digits", "generateName: digits-"))
    result = modelpress("plan", "-f", path)
    assert result.exit_code == 0
    names = [body["metadata"]["name"] for body in yaml.safe_load_all(result.stdout)]
    assert all(name.startswith("digits-xxxxx") for name in names)
    for command in (["run"], ["compress", "-o", str(tmp_path / "out")]):
        refused = modelpress(*command, "-f", path)
        assert refused.exit_code == 64
        assert refused.stderr.startswith(f"error: {path}: metadata.name: needed on this machine")


def test_run_refuses_an_invalid_manifest_before_it_starts_anything(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "  replica: 2\n")
    result = modelpress("run", "-f", path, "--state", str(tmp_path / "state"))
    assert result.exit_code == 64
    assert result.stderr == f'error: {path}: unknown field "spec.replica"\n'
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("command", ["compress", "run"])
def test_a_claim_is_refused_on_this_machine_in_one_line(tmp_path: Path, command: str) -> None:
    path = write(tmp_path, GOOD.replace("s3://models/", "pvc://claim/"))
    options = {"compress": ("-o", str(tmp_path / "out")), "run": ("--state", str(tmp_path / "state"))}
    result = modelpress(command, "-f", path, *options[command])
    assert result.exit_code == 64
    assert result.stderr == (
        f"error: {path}: spec.model.uri: 'pvc://claim/digits.keras': there are no claims on this machine; "
        "name the file itself, by file:// or a relative path\n"
    )


def test_report_and_serve_of_no_artifact(tmp_path: Path) -> None:
    for command in ("report", "serve"):
        missing = modelpress(command, str(tmp_path / "none"))
        assert (missing.exit_code, missing.stderr) == (66, f"error: {tmp_path / 'none'}: no such folder\n")
    empty = modelpress("report", str(tmp_path))
    assert empty.exit_code == 66
    assert empty.stderr == f"error: {tmp_path / 'report.json'}: no such file; it is not an artifact\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"workers: {TPU: {}}", "workers.TPU: unknown field; accepted are CPU, GPU"),
        (b"imagePullSecrets: 1", "imagePullSecrets: 1: Input should be a valid list"),
        (b"\xff", "cannot be read: is no text"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_wrong_defaults_of_the_operator_are_one_line_and_78(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "defaults.yaml"
    if content is not None:
        file.write_bytes(content)
    images = [f"--{name}-image=image:1" for name in ("compressor", "worker", "worker-gpu")]
    done = modelpress("operator", "--store=oci://registry/models", *images, f"--defaults={file}")
    assert done.exit_code == 78
    assert done.stderr == f"error: {file}: {message}\n"


def test_relative_paths_are_relative_to_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    spec = "data: {evaluation: {uri: ../e.npz}}\nevaluation: {minScore: 90%}"
    write(folder, manifest_table.manifest(spec=spec).replace("s3://models/", ""))
    monkeypatch.chdir(tmp_path)
    body = documents.checked(documents.read(Path("with space/manifest.yaml")))
    assert body["spec"]["model"]["uri"] == f"file://{tmp_path}/with%20space/digits.keras"
    assert body["spec"]["data"]["evaluation"]["uri"] == f"file://{tmp_path}/e.npz"
    assert body["spec"]["replicas"] == 1


def test_secrets_of_a_manifest(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"\x00binary").decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    content = {"data": {"a": encoded, "b": encoded}, "stringData": {"b": "plain"}}
    path = Path(write(tmp_path, json.dumps(secret | content) + f"\n---\n{GOOD}"))
    found = documents.read(path)
    assert found.secrets == {"s": {"a": b"\x00binary", "b": b"plain"}}
    assert found.only()["metadata"]["name"] == "digits"


def test_a_secret_that_the_file_lacks_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace('digits.keras"', 'digits.keras", secretRef: {name: keys}'))
    result = modelpress("run", "-f", path, "--state", str(tmp_path / "state"))
    assert result.exit_code == 66
    assert result.stderr == f"error: {path}: spec.model.secretRef: the file holds no Secret named keys\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": {"a": "not base64!"}}, "Secret s: data.a is not base64; plain text is stringData"),
        ({"stringData": {"a": 1}}, "Secret s: stringData.a is not a string"),
    ],
)
def test_broken_secrets(tmp_path: Path, content: dict[str, object], message: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    with pytest.raises(UsageError, match=message):
        documents.read(Path(write(tmp_path, json.dumps(secret | content))))
