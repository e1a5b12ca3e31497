"""An artifact read and run without our code: plain HTTP to the registry, tar, and the LiteRT interpreter."""

import io
import tarfile
from collections.abc import Callable

import httpx
import numpy as np
from ai_edge_litert.interpreter import Interpreter

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def artifact_files(repository: str, digest: str) -> dict[str, bytes]:
    """Return the files of an image; `repository` is http://HOST:PORT/v2/NAME."""
    with httpx.Client(timeout=30, trust_env=False, headers={"Accept": MANIFEST}) as http:
        manifest = http.get(f"{repository}/manifests/{digest}").raise_for_status().json()
        files = {}
        for layer in manifest["layers"]:
            blob = http.get(f"{repository}/blobs/{layer['digest']}").raise_for_status().content
            with tarfile.open(fileobj=io.BytesIO(blob), mode="r:*") as archive:
                for member in archive.getmembers():
                    content = archive.extractfile(member)
                    if content is not None:
                        files[member.name] = content.read()
    return files


def serving_form(repository: str, digest: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the artifact's model as a function of rows."""
    files = artifact_files(repository, digest)
    (content,) = [content for name, content in files.items() if name.endswith(".tflite")]
    interpreter = Interpreter(model_content=content, num_threads=1)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(rows: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(source["index"], list(rows.shape))
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], rows.astype(np.float32))
        interpreter.invoke()
        result: np.ndarray = interpreter.get_tensor(target["index"])
        return result

    return run
