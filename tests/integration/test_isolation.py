"""What tests/unit/conftest.py refuses, seen from outside."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

PROJECT = Path(__file__).resolve().parents[2]
IMPORTS, SOCKET, PROCESS = "imports TensorFlow", "opens a socket", "starts a process"
# of a test; the last two catch all that they can, and ask in another thread
USES = {
    "import tensorflow": IMPORTS,
    "import socket; socket.create_connection(('127.0.0.1', 9))": SOCKET,
    "import socket; socket.socket()": SOCKET,
    "import subprocess; subprocess.run(['true'])": PROCESS,
    "import os; os.system('true')": PROCESS,
    "import multiprocessing as m; m.get_context('spawn').Process(target=print).start()": PROCESS,
    "import subprocess\ntry: subprocess.run(['true'])\nexcept BaseException: pass": PROCESS,
    "import socket, threading\nt = threading.Thread(target=socket.socket)\nt.start(); t.join()": SOCKET,
}
FREE = "import asyncio; asyncio.run(asyncio.sleep(0)); (tmp_path / 'x').write_text('')"


def test_a_use_fails_the_test_or_the_collection(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "tests/unit/conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_import.py").write_text("import tensorflow\n\ndef test_it(): pass\n")
    for number, use in enumerate([FREE, *USES]):
        body = textwrap.indent(use, "    ")
        (tmp_path / f"test_{number}.py").write_text(f"def test_it(tmp_path):\n{body}\n")
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "--continue-on-collection-errors", f"--junitxml={report}"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    said = {
        case.get("classname") or case.get("name"): ElementTree.tostring(case, encoding="unicode")
        for case in ElementTree.parse(report).iter("testcase")
    }
    assert IMPORTS in said["test_import"]
    assert "failure" not in said["test_0"]
    assert "error" not in said["test_0"]
    for number, what in enumerate(USES.values(), start=1):
        assert f"a test of tests/unit {what}" in said[f"test_{number}"]
