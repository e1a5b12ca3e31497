"""Hostile files of every kind that ModelPress reads, each with the reason and the words of its refusal.

The files are real: a payload that ran would touch a file in the folder of `Traps`, read the secret in it, or
connect to its port.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelpress.api.conditions import Reason
from tests.support.models.trained import DigitsModels


@dataclass(frozen=True)
class Traps:
    """What no file may reach: a secret file, a marker that payloads would make, a port of this machine."""

    secret: Path
    marker: Path
    port: int

    @property
    def url(self) -> str:
        """The address that payloads would ask for."""
        return f"http://127.0.0.1:{self.port}/payload"


@dataclass(frozen=True)
class HostileFiles:
    """What a file is built of, and the empty folder where it goes."""

    folder: Path
    models: DigitsModels
    traps: Traps


@dataclass(frozen=True)
class Row:
    """One hostile file. `words` are in the message of its refusal.

    A harmless one loads: what is hostile in it is a part of a SavedModel that no signature reaches.
    """

    name: str
    build: Callable[[HostileFiles], Path]
    words: str
    reason: Reason = Reason.INVALID_MODEL
    data: bool = False  # a data set, not a model
    harmless: bool = False


def table() -> list[Row]:
    """Return all hostile files."""
    from tests.support.hostile import archives as hostile_archives
    from tests.support.hostile import data as hostile_data
    from tests.support.hostile import graphs as hostile_graphs
    from tests.support.hostile import hdf5 as hostile_hdf5
    from tests.support.hostile import keras as hostile_keras
    from tests.support.hostile import saved_models as hostile_saved_models

    modules = (
        hostile_keras,
        hostile_hdf5,
        hostile_archives,
        hostile_saved_models,
        hostile_graphs,
        hostile_data,
    )
    return [row for module in modules for row in module.ROWS]
