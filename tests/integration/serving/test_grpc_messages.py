"""The committed gRPC messages are those of the .proto file."""

import subprocess
import sys
from pathlib import Path

from modelpress.serving.protocols.grpc import open_inference_pb2 as pb


def test_the_committed_messages_are_those_of_the_proto_file(tmp_path: Path) -> None:
    source = Path(pb.__file__).with_name("open_inference.proto")
    root = source.parents[4]
    # in its own process: the compiler's library and TensorFlow's crash in one
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"--python_out={tmp_path}"]
    subprocess.run([*compiler, f"--pyi_out={tmp_path}", source], check=True)
    written = tmp_path / source.parent.relative_to(root) / "open_inference_pb2.py"
    committed = Path(pb.__file__)
    # the rest of the file changes with the compiler's version
    assert descriptor(committed) == descriptor(written), "run `make proto`"


def descriptor(code: Path) -> str:
    (line,) = (line for line in code.read_text().splitlines() if line.startswith("DESCRIPTOR = "))
    return line
