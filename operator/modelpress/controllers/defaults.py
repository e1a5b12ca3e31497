"""Reads the file of the operator-wide defaults."""

from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.defaults import Defaults, parse
from modelpress.api.errors import ConfigurationError


def load(path: Path) -> Defaults:
    """Return the defaults of a file. Raises ConfigurationError with one line that names the file."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ConfigurationError as error:
        raise ConfigurationError(error.reason, f"{path}: {error.message}") from error
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "is no text"
        raise ConfigurationError(Reason.INVALID_SPEC, f"{path}: cannot be read: {problem}") from error
