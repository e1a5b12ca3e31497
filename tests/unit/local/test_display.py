"""What is shown where no terminal reads it."""

import json

import pytest

from modelpress.local.display import Display


def line(level: str = "INFO", **extra: object) -> str:
    return json.dumps({"level": level, "message": "the message", **extra})


def step(done: int, **facts: object) -> str:
    return line(progress={"step": "train", "done": done, "total": 100, **facts})


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_a_long_step_says_a_line_each_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        for done in range(0, 101, 5):
            display.log("job", step(done, loss=0.125, phase="warm-up"))
    assert shown(capsys) == [f"train {done}/100 loss=0.125 warm-up" for done in (0, 25, 50, 75, 100)]


def test_a_step_without_a_total_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display.log("job", line(progress={"step": "copy", "done": 0, "total": 0}))
    assert shown(capsys) == ["copy 0/0"]


def test_only_what_a_user_must_know_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display.log("job", "some library's noise")
        display.log("job", line())
        display.log("job", line("WARNING"))
        display.log("job", line("ERROR"))  # comes back as the Job's result
        display.log("entry", line("ERROR"))
        display.log("entry", "[1, 2]")
    assert shown(capsys) == ["job: the message", "entry: the message"]


def test_verbose_shows_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(verbose=True) as display:
        display.log("job", "noise [bold]as it is[/bold]")
        display.log("job", line())
    assert shown(capsys) == ["job: noise [bold]as it is[/bold]", "job: the message"]
