"""What reading a manifest costs a process."""

import subprocess
import sys


def test_reading_a_manifest_imports_no_heavy_module() -> None:
    program = "import sys, modelpress.artifacts.manifest; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    heavy = {"tensorflow", "fsspec", "s3fs", "aiohttp", "botocore", "oras", "requests", "kubernetes", "kopf"}
    assert heavy & set(loaded) == set()
