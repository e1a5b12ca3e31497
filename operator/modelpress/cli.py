"""The command line. Each command imports what it needs when it runs: the images hold different packages.

Exit codes are those of sysexits.h; an error is one line, `error: ...`, on standard error.
"""

import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from modelpress.api import contract
from modelpress.api.errors import ModelPressError, UnavailableError, UsageError
from modelpress.api.text import printable
from modelpress.serve_options import config_options, worker_config

_OK, _INTERRUPTED = 0, 130
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())  # click 8.2: its text is the help
_LINE = 5000  # characters of an error, which may quote words of others
_FILE = click.Path(dir_okay=True, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_PORT = click.IntRange(0, 65535)


class _Commands(click.Group):
    """A group whose errors are ours: one line each, exit codes of sysexits.h."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except ModelPressError as error:
            code = _complain(error.message, error.exit_code)
        except _NO_ARGUMENTS as error:
            click.echo(error.format_message())
            code = _OK
        except click.UsageError as error:
            code = _complain(_hint(error), UsageError.exit_code)
        except click.ClickException as error:
            code = _complain(error.format_message(), UsageError.exit_code)
        except (click.Abort, KeyboardInterrupt):
            code = _INTERRUPTED
        except ModuleNotFoundError as error:
            text = f"this command needs the package {error.name}: pip install 'modelpress[all]'"
            code = _complain(text, UnavailableError.exit_code)
        except Exception as error:
            click.echo(printable(traceback.format_exc(), keep="\n"), err=True, nl=False)
            code = _complain(f"unexpected {type(error).__name__}: {error}", ModelPressError.exit_code)
        sys.exit(code if isinstance(code, int) else _OK)


def _complain(message: str, code: int) -> int:
    for line in message.split("\n"):
        click.echo(printable(f"error: {line}", limit=_LINE), err=True)
    return code


def _hint(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx else "modelpress"
    return f"{error.format_message()} (see {command} --help)".replace("\n", " ")


def _example(*lines: str) -> str:
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "MODELPRESS",
        "max_content_width": 110,
        "show_default": True,
    },
    epilog=_example("modelpress run -f manifests/samples/local/digits.yaml"),
)
@click.version_option(package_name="modelpress", message="%(prog)s %(version)s")
def main() -> None:
    """Compress trained TensorFlow models, check their quality and serve them."""


_option = partial(click.option, show_envvar=True)  # for programs that run in pods


def _manifest_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "-f",
        "--filename",
        "manifest",
        type=_FILE,
        required=True,
        help="Manifest file with a ModelDeployment; - reads standard input.",
    )(command)


def _state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--state",
        type=_FILE,
        default=lambda: _cache_folder() / "modelpress",
        show_default="~/.cache/modelpress",
        help="Folder that keeps the artifacts.",
    )(command)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@main.command(epilog=_example("modelpress run -f manifests/samples/local/digits.yaml --port 8080"))
@_manifest_option
@_state_option
@click.option("--port", type=_PORT, default=0, show_default="any free port", help="Port of the URL.")
@click.option("--verbose", is_flag=True, help="Show every line of the containers' output.")
def run(manifest: Path, state: Path, port: int, verbose: bool) -> int:
    """Compress, judge and serve one ModelDeployment on this machine, until Ctrl-C.

    Runs the operator's own control loop; the pods are processes. Secrets that the manifest names are read
    from documents of kind Secret in the same file.
    """
    from modelpress.local.run import RunOptions  # noqa: PLC0415
    from modelpress.local.run import run as serve_manifest  # noqa: PLC0415

    return serve_manifest(RunOptions(manifest, state, port, verbose))


@main.command(epilog=_example("modelpress plan -f manifests/samples/digits.yaml"))
@_manifest_option
def plan(manifest: Path) -> int:
    """Check a manifest as the API server would, and print the objects that it leads to. Needs no cluster."""
    from modelpress.local.plan import plan as print_plan  # noqa: PLC0415

    return print_plan(manifest)


@main.command(epilog=_example("modelpress compress -f manifests/samples/local/digits.yaml -o artifact"))
@_manifest_option
@click.option(
    "-o", "--output", type=_FOLDER, required=True, help="Folder for the artifact, an OCI image layout."
)
@click.option("--verbose", is_flag=True, help="Show every line of the Job's output.")
def compress(manifest: Path, output: Path, verbose: bool) -> int:
    """Compress and judge the model of a manifest; write the artifact, also where it misses a limit."""
    from modelpress.local.compress import compress as compress_manifest  # noqa: PLC0415

    return compress_manifest(manifest, output, verbose=verbose)


@main.command(epilog=_example("modelpress report artifact", "modelpress report artifact --html report.html"))
@click.argument("directory", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--html", type=_FILE, metavar="FILE", help="Write the report as one HTML page, with charts.")
def report(directory: Path, as_json: bool, html: Path | None) -> None:
    """Show what was done to a model, tensor by tensor, and how good and how large it is.

    DIRECTORY is an OCI image layout or a folder with an artifact's files.
    """
    from modelpress.local.reports import show  # noqa: PLC0415

    if as_json and html:
        raise click.UsageError("--json and --html cannot be used together")
    show(directory, as_json=as_json, html=html)


@main.command(epilog=_example("modelpress crd | kubectl apply --server-side -f -"))
def crd() -> None:
    """Print the CustomResourceDefinition."""
    from modelpress.api.crd import to_yaml  # noqa: PLC0415

    click.echo(to_yaml(), nl=False)


@main.command(epilog=_example("modelpress serve artifact --port 8080 --grpc-port 8081 --name digits"))
@click.argument("directory", type=_FILE, envvar=contract.MODEL_DIR)
@config_options
@_option("--host", default="127.0.0.1", envvar=contract.HOST, help="Address to listen on.")
@_option("--port", type=_PORT, default=contract.HTTP_PORT, envvar=contract.PORT, help="Port to listen on.")
@_option(
    "--grpc-port",
    type=_PORT,
    default=0,
    envvar=contract.GRPC_PORT_VARIABLE,
    help="Port to listen on for gRPC; pods listen on 8081. 0: no gRPC.",
)
@_option(
    "--access-log",
    is_flag=True,
    envvar=contract.ACCESS_LOG,
    help="Write a line of JSON for each request to standard output.",
)
@click.pass_context
def serve(context: click.Context, /, directory: Path, **options: Any) -> None:
    """Serve an artifact: Open Inference Protocol v2, TensorFlow Serving REST, /metrics.

    DIRECTORY is an OCI image layout or a folder with an artifact's files; unset it is MODELPRESS_MODEL_DIR.
    In pods MODELPRESS_WORKER_CONFIG holds the fields of `parallelism` and `serving` as JSON; an option that
    is given replaces its field.
    """
    from modelpress.artifacts.termination import report as report_end  # noqa: PLC0415
    from modelpress.local.artifact_files import artifact_files  # noqa: PLC0415
    from modelpress.serving.worker import ProcessOptions  # noqa: PLC0415
    from modelpress.serving.worker import main as serve_folder  # noqa: PLC0415

    try:
        config = worker_config(context, os.environ.get(contract.WORKER_CONFIG))
    except UsageError as error:
        report_end(error.reason, error.message)
        raise
    with artifact_files(directory) as folder:
        process = {name: options[name] for name in ("host", "port", "grpc_port", "access_log")}
        serve_folder(config, ProcessOptions(folder, **process))


@main.command(
    epilog=_example("MODELPRESS_REQUEST='{...}' MODELPRESS_STORE=file:///tmp/layout modelpress job")
)
def job() -> None:
    """Do the work of one compression Job; the operator starts it.

    Reads MODELPRESS_REQUEST, MODELPRESS_STORE, MODELPRESS_WORK_DIR, MODELPRESS_SECRETS and
    MODELPRESS_TERMINATION_MESSAGE.
    """
    from modelpress.compression.job import main as compress_request  # noqa: PLC0415

    compress_request()


@main.command(
    epilog=_example(
        "MODELPRESS_STORE=file:///tmp/layout MODELPRESS_ARTIFACT_DIGEST=sha256:... \\",
        "  MODELPRESS_MODEL_DIR=/tmp/model modelpress fetch",
    )
)
def fetch() -> int:
    """Fetch an artifact and verify it; the init container of workers.

    Reads MODELPRESS_STORE, MODELPRESS_ARTIFACT_DIGEST, MODELPRESS_MODEL_DIR and MODELPRESS_SECRETS.
    """
    from modelpress import logs  # noqa: PLC0415
    from modelpress.artifacts.fetch import main as fetch_artifact  # noqa: PLC0415

    logs.configure()
    return fetch_artifact()


@main.command(
    epilog=_example(
        "modelpress operator --store oci://registry.example.com/models \\",
        "  --compressor-image example.com/compressor:1 --worker-image example.com/worker:1 \\",
        "  --worker-gpu-image example.com/worker-gpu:1",
    )
)
@_option(
    "--store",
    required=True,
    envvar=contract.STORE,
    help="Default of spec.storage.uri, oci://REGISTRY/REPOSITORY; each namespace has one below it.",
)
@_option(
    "--store-audience",
    help="Audience of the ServiceAccount tokens that pods show that store. Default: they show none.",
)
@_option("--compressor-image", required=True, help="Image of compression Jobs.")
@_option("--worker-image", required=True, help="Image of workers on CPU devices.")
@_option("--worker-gpu-image", required=True, help="Image of workers on GPU devices.")
@_option(
    "--plain-http-registry", envvar=contract.PLAIN_HTTP_REGISTRY, help="HOST:PORT that may speak plain HTTP."
)
@_option("--cluster-domain", default="cluster.local", help="DNS domain of the cluster.")
@_option(
    "--namespace",
    "namespaces",
    multiple=True,
    help="Watch only this namespace; may be given several times. Default: all.",
)
@_option(
    "--resync-interval",
    type=click.FloatRange(1.0),
    default=60.0,
    help="Seconds between looks for objects that a watch has lost.",
)
@_option(
    "--max-concurrent-jobs",
    type=click.IntRange(1),
    default=10,
    help="Compression Jobs that may run at once.",
)
@_option(
    "--max-concurrent-jobs-per-namespace",
    type=click.IntRange(1),
    default=None,
    help="Those of one namespace. Default: half of them, at least 1; all where one namespace is watched.",
)
@_option("--workers", type=click.IntRange(1), default=16, help="Resources looked at at once.")
@_option("--liveness-port", type=_PORT, default=8080, help="Port of /healthz and /readyz; 0: none.")
@_option(
    "--leader-election/--no-leader-election",
    default=True,
    help="Whether only the holder of a Lease acts, and others stand by.",
)
@_option(
    "--lease-namespace",
    help="Namespace of the Lease. Default: that of the pod; outside of pods there is no Lease.",
)
@_option(
    "--lease-name",
    default="modelpress-operator",
    help="Name of the Lease; operators of different namespaces need different ones.",
)
@_option(
    "--fixed-user/--no-fixed-user",
    default=True,
    help="Whether pods name user, group and fsGroup 65532, or the cluster chooses them (OpenShift).",
)
@_option(
    "--defaults",
    type=_FILE,
    help="YAML file with the defaults of all resources, read at the start: docs/reference.md.",
)
def operator(liveness_port: int, defaults: Path | None, **options: Any) -> int:
    """Run the operator against the cluster of the kubeconfig or the pod's ServiceAccount."""
    from modelpress import logs  # noqa: PLC0415
    from modelpress.api.defaults import Defaults  # noqa: PLC0415
    from modelpress.controllers.defaults import load  # noqa: PLC0415
    from modelpress.controllers.main import OperatorOptions  # noqa: PLC0415
    from modelpress.controllers.main import run as run_operator  # noqa: PLC0415

    logs.configure()
    chosen = load(defaults) if defaults else Defaults()
    return run_operator(OperatorOptions(liveness_port=liveness_port or None, defaults=chosen, **options))


@main.command(
    name="registry-tokens",
    epilog=_example("modelpress registry-tokens --audience my-registry --key key.pem --jwks jwks.json"),
)
@_option("--audience", required=True, help="Audience of the ServiceAccount tokens, the registry's `service`.")
@_option("--root", default="modelpress", help="A namespace has the repository ROOT/NAMESPACE.")
@_option("--key", type=_FILE, required=True, help="The signing key (PEM); made where there is none.")
@_option("--jwks", type=_FILE, required=True, help="Where to write what the registry knows the key by.")
@_option("--port", type=_PORT, default=5001, help="Port of /token and /healthz.")
@_option("--anonymous-pull", is_flag=True, help="Let everybody read all repositories.")
def registry_tokens(**options: Any) -> int:
    """Run the token service of the default registry: pods of a namespace get its repository alone."""
    from modelpress import logs  # noqa: PLC0415
    from modelpress.registry_tokens.service import Options, run  # noqa: PLC0415

    logs.configure()
    return run(Options(**options))
