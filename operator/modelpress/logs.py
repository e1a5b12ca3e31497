"""Logging: JSON lines in the cluster, readable lines on a terminal; progress of long work in both."""

import logging
import os
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from modelpress.api.contract import LOG_FORMAT
from modelpress.api.text import printable


class _TextFormatter(logging.Formatter):
    """Lines for a terminal, which must not obey what a message quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record; a traceback keeps its lines."""
        return printable(super().format(record), keep="\n\t")


def configure(level: int = logging.INFO) -> None:
    """Send log lines to standard error, as JSON unless a terminal reads them or LOG_FORMAT says text."""
    chosen = os.environ.get(LOG_FORMAT) or ("text" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler(sys.stderr)
    if chosen == "json":
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def quiet_tensorflow(shown: str = "3") -> None:
    """Keep TensorFlow's C++ part from writing lines of its own; must be called before its first import.

    `shown` is the lowest severity that is still shown, as in TF_CPP_MIN_LOG_LEVEL: 2 errors, 3 fatal ones.
    What the environment sets already stays.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", shown)
    # On CPUs with AVX512_VNNI TensorFlow takes oneDNN's operators unless told not to, and 2.21 then says
    # so whatever the level is. Without them numbers depend less on the node, too; training takes 1.3x there.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def progress(logger: logging.Logger, step: str, done: int, total: int, **facts: Any) -> None:
    """Log how far a long step has come; local mode draws these lines as a bar.

    `facts` are shown behind the bar, such as loss=0.12.
    """
    logger.info(
        "%s %d/%d",
        step,
        done,
        total,
        extra={"progress": {"step": step, "done": done, "total": total, **facts}},
    )
