"""Every combination of the passes works, or is refused by name before any work.

The verdicts are checked for the whole product. Real runs: a seeded sample; test_every_combination.py
has all.
"""

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import ModelPressError
from modelpress.api.schemes import Scheme
from modelpress.api.spec import Spec
from modelpress.api.validation import manifest
from modelpress.api.validation.support import unsupported
from modelpress.compression import recipe
from modelpress.models.load import load
from modelpress.models.types import Kind, LoadedModel
from tests.support.models.combination_runs import (
    Files,
    files,
    is_refused_before_anything_is_measured,
    makes_an_artifact,
)
from tests.support.models.combinations import CHANNELS, Combination, Refusal, every, expected, field_of

__all__ = ["files"]  # a fixture


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
        outcome = expected(one)
        first = [*server, *operator, *job][:1]
        assert first == ([outcome] if outcome else []), str(one)
        if first and first != job:  # whoever starts a Job without both is told the same
            assert set(job) & {*server, *operator}, str(one)


def sample(seed: int = 0) -> list[Combination]:
    """Return combinations that work; of them few that have together each choice but that of the scheme.

    Their schemes differ as far as they can; Auto, which is many runs, is only among all.
    """
    works = [one for one in every() if expected(one) is None]
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
    makes_an_artifact(one, files[one.kind], tmp_path)


@pytest.mark.parametrize(
    "one",
    [
        one
        for one in every()
        if expected(one) == Refusal(Reason.UNSUPPORTED_MODEL, CHANNELS)
        and (one.scheme is None and not one.clipping and one.tuning)
    ],
    ids=str,
)
def test_a_model_without_layers_is_refused_before_anything_is_measured(
    one: Combination, files: dict[Kind, Files], tmp_path: Path
) -> None:
    is_refused_before_anything_is_measured(one, files[one.kind], tmp_path)
