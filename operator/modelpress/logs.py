"""Logging: JSON lines in the cluster, readable lines on a terminal; progress of long work in both."""

import logging
import os
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from modelpress.api.contract import LOG_FORMAT


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
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


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
