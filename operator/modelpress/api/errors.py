"""Errors that a user can cause or must know of.

    ModelPressError            reason (conditions.Reason), one-line message, exit code of sysexits.h
    |- UsageError         64   a manifest, field or option is wrong
    |- DataError          65   a model, data set, pin or artifact is wrong: final
    |- MissingError       66   an object or file does not exist: final
    |- UnavailableError   69   a network peer does not answer: worth a retry
    |- PermissionDenied   77   a credential is missing or refused: final
    `- ConfigurationError 78   a configuration file of the operator is wrong

Messages show no internals (no tracebacks, no credentials): they may be shown to anyone who reads the status.
"""

from typing import ClassVar

from modelpress.api.conditions import Reason

# Exit codes that a Job's pod may end with and that a retry cannot change. 137 is the kernel's SIGKILL (out
# of memory); 70 is an error of ours: it would only happen again.
FINAL_EXIT_CODES = (64, 65, 66, 70, 77, 137)
# What a Job may fail of that heals while the spec stays as it is: a peer that is away, a Secret that is put
# right. Jobs are made again, with growing waits; another pod of the same Job helps with the first only.
HEALING_EXIT_CODES = (69, 77)


class ModelPressError(Exception):
    """Base of the tree; raise one of the leaves."""

    exit_code: ClassVar[int] = 70

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class UsageError(ModelPressError):
    """A manifest, field or option is wrong."""

    exit_code = 64


class DataError(ModelPressError):
    """A model, data set, pin or artifact is wrong."""

    exit_code = 65


class MissingError(ModelPressError):
    """An object or file does not exist."""

    exit_code = 66


class UnavailableError(ModelPressError):
    """A network peer does not answer; a retry may help."""

    exit_code = 69


class PermissionDenied(ModelPressError):
    """A credential is missing or refused."""

    exit_code = 77


class ConfigurationError(ModelPressError):
    """A configuration file of the operator is wrong."""

    exit_code = 78


_LEAVES = (UsageError, DataError, MissingError, UnavailableError, PermissionDenied)


def error_of(reason: Reason, message: str) -> ModelPressError:
    """Return the error to raise for a reason that somebody else reported: the one with its exit code."""
    kind = next((leaf for leaf in _LEAVES if leaf.exit_code == reason.exit_code), ModelPressError)
    return kind(reason, message)
