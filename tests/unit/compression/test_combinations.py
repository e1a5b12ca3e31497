"""Every combination of the passes works, or is refused by name before any work.

The verdicts are checked for the whole product. Real runs: a seeded sample, and with MODELPRESS_TEST_FULL=1
all that work (an hour).
"""

import os
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from modelpress.api import manifest
from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, ModelPressError
from modelpress.api.spec import Scheme, Spec
from modelpress.api.support import unsupported
from modelpress.artifacts import manifest as manifests
from modelpress.compression import pipeline, recipe, report
from modelpress.models.load import load
from modelpress.models.types import Kind, LoadedModel
from tests.support import combinations, combinations_table, page_tables
from tests.support.combinations import CHANNELS, Combination, Refusal, every, expected, field_of
from tests.support.models import DigitsModels

FULL = bool(os.environ.get("MODELPRESS_TEST_FULL"))
ROWS = 256  # of each data set


@dataclass(frozen=True)
class Files:
    """A model of one kind with its data sets."""

    model: Path
    training: Path
    evaluation: Path


@pytest.fixture(scope="module")
def files(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Files]:
    folder, digits = tmp_path_factory.mktemp("data"), digits_models.digits
    found = {}
    paths = {Kind.LAYERS: digits_models.cnn, Kind.SAVED_MODEL: digits_models.saved_model}
    for kind, path in paths.items():
        shape = (8, 8, 1) if kind is Kind.LAYERS else (64,)
        found[kind] = Files(path, folder / f"{kind}-training.npz", folder / f"{kind}-evaluation.npz")
        np.savez(found[kind].training, x=digits.train_x[:ROWS].reshape(-1, *shape), y=digits.train_y[:ROWS])
        np.savez(found[kind].evaluation, x=digits.test_x[:ROWS].reshape(-1, *shape), y=digits.test_y[:ROWS])
    return found


@pytest.fixture(scope="module")
def loaded(files: dict[Kind, Files], tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, LoadedModel]:
    folder = tmp_path_factory.mktemp("loaded")
    return {kind: load(item.model, folder) for kind, item in files.items()}


@cache
def by_api_server(one: Combination) -> list[Refusal]:
    if one.kind is not Kind.LAYERS:  # a manifest does not know the kind of its model
        return by_api_server(replace(one, kind=Kind.LAYERS))
    return [Refusal(Reason.INVALID_SPEC, field_of(line)) for line in manifest.check(one.manifest()).errors]


def by_operator(one: Combination) -> list[Refusal]:
    lines = unsupported(Spec.model_validate(one.spec()))
    return [Refusal(Reason.NOT_SUPPORTED_YET, field_of(line)) for line in lines]


def by_job(one: Combination, model: LoadedModel) -> list[Refusal]:
    try:
        recipe.of(one.request()).check(model)
    except ModelPressError as error:
        named = CHANNELS if CHANNELS in error.message else field_of(error.message)
        return [Refusal(error.reason, named)]
    return []


def test_each_of_the_whole_product_is_refused_by_name_or_works(loaded: dict[Kind, LoadedModel]) -> None:
    product = list(every())
    assert len(product) == 9 * 5 * 2 * 2 * 2 * 2
    for one in product:
        server, operator, job = by_api_server(one), by_operator(one), by_job(one, loaded[one.kind])
        wanted = expected(one)
        first = [*server, *operator, *job][:1]
        assert first == ([wanted] if wanted else []), str(one)
        if first and first != job:  # whoever starts a Job without both is told the same
            assert set(job) & {*server, *operator}, str(one)


def sample(seed: int = 0) -> list[Combination]:
    """Return combinations that work; of them few that have together each choice but that of the scheme.

    Their schemes differ as far as they can; Auto, which is many runs, is only among all.
    """
    works = [one for one in every() if expected(one) is None]
    if FULL:
        return works
    random.Random(seed).shuffle(works)
    works = [one for one in works if one.scheme is not Scheme.AUTO]
    missing = {choice for one in works for choice in choices(one)}
    chosen: list[Combination] = []
    while missing:
        used = {one.scheme for one in chosen}
        best = max(works, key=lambda one: (len(missing & choices(one)), one.scheme not in used))
        missing -= choices(best)
        chosen.append(best)
    return chosen


def choices(one: Combination) -> set[tuple[str, object]]:
    return {item for item in vars(one).items() if item[0] != "scheme"}


@pytest.mark.parametrize("one", sample(), ids=str)
def test_what_works_makes_an_artifact(one: Combination, files: dict[Kind, Files], tmp_path: Path) -> None:
    run(one, files[one.kind], tmp_path)
    made = manifests.load_verified(tmp_path / "out")
    names = [
        *(["pruning"] if one.pruning != "none" else []),
        *(["fineTuning"] if one.tuning and not one.penalized else []),
        *(["weightClipping"] if one.clipping else []),
        *(["quantization"] if one.scheme else []),
    ]
    assert [step.name for step in made.passes] == names
    told = report.load(tmp_path / "out")
    assert all(step.tensors for step in told.passes)
    assert [step.training is not None for step in told.passes].count(True) == one.tuning
    assert told.evaluation is not None
    assert told.evaluation.original > 90
    assert told.evaluation.compressed > (90 if one.pruning == "none" else 20)
    if one.of_channels:
        assert told.sizes.compressed_bytes < told.sizes.float32_bytes


@pytest.mark.parametrize(
    "one",
    [
        one
        for one in every()
        if expected(one) == Refusal(Reason.UNSUPPORTED_MODEL, CHANNELS)
        and (FULL or (one.scheme is None and not one.clipping and one.tuning))
    ],
    ids=str,
)
def test_a_model_without_layers_is_refused_before_anything_is_measured(
    one: Combination, files: dict[Kind, Files], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=CHANNELS) as caught:
        run(one, files[one.kind], tmp_path)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
    assert not list((tmp_path / "out").iterdir())
    assert {path.name for path in (tmp_path / "work").iterdir()} <= {"model", "converter.log"}


def run(one: Combination, found: Files, folder: Path) -> None:
    request = one.request()
    roles = recipe.of(request).data
    paths = {"training": found.training, "calibration": found.training, "evaluation": found.evaluation}
    inputs = pipeline.Inputs(
        found.model,
        paths["evaluation"],
        f"sha256:{'2' * 64}",
        "3" * 64,
        **{role: paths[role] for role in ("training", "calibration") if role in roles},
    )
    pipeline.compress(request, inputs, folder / "out", folder / "work")


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    text = page_tables.PAGE.read_text(encoding="utf-8")
    assert text == combinations_table.rewritten(text), "run `make formats`"


def test_the_declared_schemes_are_those_of_the_api() -> None:
    assert len(combinations.SCHEMES) == len(set(combinations.SCHEMES)) == 9
