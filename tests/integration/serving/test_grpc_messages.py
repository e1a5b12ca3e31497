"""The committed gRPC messages are those of the .proto files."""

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from modelpress.serving.grpc import messages as pb


def test_the_committed_messages_are_those_of_the_proto_files(tmp_path: Path) -> None:
    source = Path(pb.__file__).parent
    # in its own process: the compiler's library and TensorFlow's crash in one
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", "--include_imports"]
    files = ["open_inference.proto", "tensorflow_serving.proto"]
    subprocess.run([*compiler, f"--descriptor_set_out={tmp_path / 'messages'}", *files], check=True)
    written = FileDescriptorSet.FromString((tmp_path / "messages").read_bytes())
    committed = FileDescriptorSet.FromString((source / "messages.binpb").read_bytes())
    assert ours(committed) == ours(written), "run `make proto`"


def ours(files: FileDescriptorSet) -> list[FileDescriptorProto]:
    """Return the files that are not protobuf's own, which change with its version."""
    return [file for file in files.file if not file.name.startswith("google/")]
