"""Options of `modelpress serve` for what a pod gets as one JSON value: each field of its types is one.

So a new field of the resource's `serving` is an option with the same name, bounds and description.
"""

from collections.abc import Callable, Mapping
from typing import Any

import click
from click.core import ParameterSource
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from modelpress.api.conditions import Reason
from modelpress.api.contract import WorkerConfig, first_error
from modelpress.api.errors import UsageError
from modelpress.api.spec import Parallelism, Serving

Command = Callable[..., Any]

_OWN = ("name", "revision")
_PARALLELISM = ("data", "pipeline", "tensor")
_SERVING = tuple(Serving.model_fields)
_SHORT_NAMES = {
    "max_batch_delay_milliseconds": "--max-batch-delay",
    "request_timeout_seconds": "--request-timeout",
}
_CLICK_TYPES: "dict[str, click.ParamType[Any]]" = {"number": click.FLOAT, "boolean": click.BOOL}


def config_options(command: Command) -> Command:
    """Add an option to a command for each field that can be set by hand."""
    for kind, fields in ((Serving, _SERVING), (Parallelism, _PARALLELISM), (WorkerConfig, _OWN)):
        schemas = kind.model_json_schema(by_alias=False)["properties"]
        for name in reversed(fields):  # the decorator that is applied last is listed first
            command = _option(name, schemas[name])(command)
    return command


def _option(name: str, schema: Mapping[str, Any]) -> Callable[[Command], Command]:
    names = [f"--{name.replace('_', '-')}"]
    if name in _SHORT_NAMES:
        names.append(_SHORT_NAMES[name])
    return click.option(
        name,
        *names,
        type=_click_type(schema),
        default=schema["default"],
        help=schema["description"],
        allow_from_autoenv=False,
    )


def _click_type(schema: Mapping[str, Any]) -> "click.ParamType[Any]":  # generic since click 8.4
    """Return what an option of a JSON schema takes; what click does not check, the types do.

    A field that may be unset has its schema beside that of null.
    """
    schema = next((entry for entry in schema.get("anyOf", ()) if entry.get("type") != "null"), schema)
    if schema.get("type") == "integer":
        return click.IntRange(schema.get("minimum"), schema.get("maximum"))
    return _CLICK_TYPES.get(schema.get("type", ""), click.STRING)


def worker_config(context: click.Context, text: str | None) -> WorkerConfig:
    """Return the configuration in `text`, JSON, with the fields replaced that the command line has.

    Raises UsageError (InvalidSpec) where one of them is wrong.
    """
    fields = WorkerConfig.from_json(text or "{}").model_dump(by_alias=True)
    for part, names in ((fields, _OWN), (fields["parallelism"], _PARALLELISM), (fields["serving"], _SERVING)):
        part.update({to_camel(name): context.params[name] for name in names if _is_given(context, name)})
    try:
        return WorkerConfig.model_validate(fields)
    except ValidationError as error:
        raise UsageError(Reason.INVALID_SPEC, first_error(error)) from error


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE
