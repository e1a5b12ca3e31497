"""`modelpress report`: the real command on folders that are good, missing, damaged."""

import json
import subprocess
import sys
from pathlib import Path

import html5lib
import pytest

from tests.support.reports import wire

ROOT = Path(__file__).resolve().parents[3]


def report(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelpress", "report", *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "PYTHONPATH": f"{ROOT}/operator"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact/report.json").write_text(json.dumps(wire()))
    return tmp_path


def test_the_page_is_written_and_needs_nothing_else(folder: Path) -> None:
    done = report("artifact", "--html", "page.html", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrote page.html\n", "")
    page = (folder / "page.html").read_text(encoding="utf-8")
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    elements = list(tree.iter())
    assert {"script", "link", "iframe", "object", "embed"}.isdisjoint(str(item.tag) for item in elements)
    addresses = [
        value
        for item in elements
        for key, value in item.attrib.items()
        if str(key).lower() in ("src", "href", "action", "data", "srcset") or str(key).startswith("on")
    ]
    assert [value for value in addresses if not value.startswith(("#", "data:"))] == []
    assert "@import" not in page
    assert "url(http" not in page


def test_the_page_judges_the_drop_of_the_output_that_lost_most(folder: Path) -> None:
    found = wire()
    evaluation = found["evaluation"]
    evaluation |= {"original": 95.0, "compressed": 94.8, "drop": 2.0, "limits": {"maxDrop": "0.5%"}}
    evaluation["outputs"] = [
        {"name": "digit", "original": 97.0, "compressed": 95.0},
        {"name": "sign", "original": 95.0, "compressed": 94.8},
    ]
    (folder / "artifact/report.json").write_text(json.dumps(found))
    assert report("artifact", "--html", "page.html", cwd=folder).returncode == 0
    assert "misses the limits" in (folder / "page.html").read_text(encoding="utf-8")


def test_a_page_that_is_there_is_written_anew(folder: Path) -> None:
    (folder / "page.html").write_text("old")
    assert report("artifact", "--html", "page.html", cwd=folder).returncode == 0
    assert "old" not in (folder / "page.html").read_text(encoding="utf-8")[:20]


def test_the_json_is_the_file_itself(folder: Path) -> None:
    done = report("artifact", "--json", cwd=folder)
    assert (done.returncode, json.loads(done.stdout)) == (0, wire())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing"], 66, "missing: no such folder"),
        (["missing", "--html", "page.html"], 66, "missing: no such folder"),
        (["artifact", "--html", "no/such/page.html"], 64, "--html no/such/page.html: No such file"),
        (["artifact", "--html", "artifact"], 64, "--html artifact: Is a directory"),
        (["artifact", "--html", "p.html", "--json"], 64, "cannot be used together"),
    ],
)
def test_errors_are_one_line_with_their_code(
    folder: Path, arguments: list[str], code: int, words: str
) -> None:
    done = report(*arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"schemaVersion": 999}', b"[" * 100_000]
)
def test_a_damaged_report_is_one_line_and_65(folder: Path, content: bytes) -> None:
    (folder / "artifact/report.json").write_bytes(content)
    done = report("artifact", "--html", "page.html", cwd=folder)
    assert (done.returncode, done.stdout) == (65, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "report.json" in done.stderr
    assert not (folder / "page.html").exists()


def test_a_folder_without_a_report_is_one_line(folder: Path) -> None:
    (folder / "artifact/report.json").unlink()
    done = report("artifact", cwd=folder)
    assert done.returncode in (65, 66)
    assert len(done.stderr.splitlines()) == 1
