"""A worker's configuration: from the spec through one variable, and the options of `modelpress serve`."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from modelpress import serve_options
from modelpress.api import contract
from modelpress.api.contract import JobFailure, WorkerConfig
from modelpress.api.crd import root_schema
from modelpress.api.errors import UsageError
from modelpress.api.spec import Parallelism, Serving
from tests.support.command_line import modelpress
from tests.unit.planning.fake_cluster import SPEC, ready_cluster

FIELDS: dict[str, Any] = root_schema()["properties"]["spec"]["properties"]["serving"]["properties"]


def other(schema: dict[str, Any]) -> Any:
    """Return a value of a field that is not its default."""
    if schema["type"] == "boolean":
        return not schema["default"]
    values = schema.get("enum") or [schema.get("maximum"), schema.get("minimum"), "3Mi"]
    return next(value for value in values if value not in (None, schema.get("default")))


def rendered(**spec: Any) -> str:
    """Return the configuration of the workers that a spec leads to."""
    template = ready_cluster({**SPEC, **spec}).only("Deployment")["spec"]["template"]
    (container,) = template["spec"]["containers"]
    return next(str(entry["value"]) for entry in container["env"] if entry["name"] == contract.WORKER_CONFIG)


def parsed(*arguments: str, text: str | None = None) -> WorkerConfig:
    """Return the configuration that a command with the options of `serve` has."""
    found: list[WorkerConfig] = []

    @click.command
    @serve_options.config_options
    @click.pass_context
    def command(context: click.Context, /, **_: Any) -> None:
        found.append(serve_options.worker_config(context, text))

    command.main(list(arguments), standalone_mode=False)
    return found[0]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_serving_reaches_the_worker_and_is_an_option(field: str) -> None:
    value = other(FIELDS[field])
    config = WorkerConfig.from_json(rendered(serving={field: value}))
    assert config.serving.to_wire() == {field: value}
    name = next(name for name, entry in Serving.model_fields.items() if entry.alias == field)
    assert parsed(f"--{name.replace('_', '-')}", str(value)).serving == config.serving
    assert config == parsed(text=config.to_json())


def test_pods_say_what_they_serve() -> None:
    parallelism = {"data": 2, "pipeline": 3}
    current = ready_cluster({**SPEC, "parallelism": parallelism}).status["current"]
    assert json.loads(rendered(parallelism=parallelism)) == {
        "name": "digits",
        "revision": current["name"],
        "artifactDigest": current["artifactDigest"],
        "parallelism": parallelism,
    }


def test_options_replace_their_fields_and_no_others() -> None:
    before = WorkerConfig(name="a", parallelism=Parallelism(data=2), serving=Serving(max_batch_size=7))
    assert parsed(text=before.to_json()) == before
    after = parsed("--name", "b", "--data", "1", "--max-batch-delay", "5", text=before.to_json())
    assert after.to_wire() == {
        "name": "b",
        "serving": {"maxBatchSize": 7, "maxBatchDelayMilliseconds": 5},
    }
    assert parsed() == WorkerConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ("[]", "[]: Input should be an object"),
        ('{"serving": {"maxBatchSize": "8"}}', 'serving.maxBatchSize: "8": Input should be a valid integer'),
        (
            '{"serving": {"maxBatchSize": 5000}}',
            "serving.maxBatchSize: 5000: Input should be less than or equal to 4096",
        ),
        ('{"serving": {"maxRequestBytes": "8 pages"}}', "serving.maxRequestBytes: '8 pages' is not a"),
        ('{"serving": {"later": 1}}', "serving.later: this release knows no such field"),
        ('{"parallelism": {"data": 17}}', "parallelism.data: 17: Input should be less than or equal to 16"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_the_end_of_the_pod(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        WorkerConfig.from_json(text)
    said = caught.value.message
    assert said.startswith(f"{contract.WORKER_CONFIG}: ")
    assert message in said
    file = tmp_path / "termination"
    result = modelpress(
        "serve", str(tmp_path), env={contract.WORKER_CONFIG: text, contract.TERMINATION_MESSAGE: str(file)}
    )
    assert (result.exit_code, result.stderr) == (64, f"error: {said}\n")
    assert JobFailure.model_validate_json(file.read_text()).message == said


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--max-batch-size", "0", "Invalid value for '--max-batch-size': 0 is not in the range 1<=x<=4096."),
        (
            "--max-request-bytes",
            "8 pages",
            "error: serving.maxRequestBytes: '8 pages' is not a quantity of bytes such as \"20Mi\"",
        ),
    ],
)
def test_a_wrong_option_is_one_line(option: str, value: str, message: str) -> None:
    result = modelpress("serve", "artifact", option, value)
    assert result.exit_code == 64
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
