"""What was refused is not asked for again at once."""

from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.controllers.cluster import TemplateRefused
from modelpress.controllers.refusals import Refusals
from modelpress.planning.types import Key

KEY = Key("shop", "digits")
BODY: dict[str, Any] = {"kind": "Deployment", "metadata": {"name": "digits"}, "spec": {"replicas": 1}}
REFUSED = TemplateRefused(Reason.QUOTA_EXCEEDED, "exceeded quota")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def is_known(refusals: Refusals, body: dict[str, Any] = BODY, retry: str | None = None) -> bool:
    try:
        refusals.expect(KEY, body, retry)
    except TemplateRefused as refusal:
        return refusal.message == REFUSED.message
    return False


def test_the_same_is_refused_again_without_asking_other_content_and_a_retry_are_asked_for() -> None:
    refusals = Refusals(Clock())
    refusals.refused(KEY, BODY, None, REFUSED)
    assert is_known(refusals)
    assert not is_known(refusals, {**BODY, "spec": {"replicas": 2}})
    assert not is_known(refusals, retry="1")
    refusals.accepted(KEY, {**BODY, "spec": {"replicas": 2}}, None)
    assert is_known(refusals), "what else was written says nothing of it"
    refusals.accepted(KEY, BODY, None)
    assert not is_known(refusals)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_each_refusal_of_the_same_doubles_the_pause_up_to_ten_minutes(count: int) -> None:
    clock = Clock()
    refusals = Refusals(clock)
    for _ in range(count):
        refusals.refused(KEY, BODY, None, REFUSED)
    clock.now = min(600, 60 * 2 ** (count - 1)) - 1
    assert is_known(refusals)
    clock.now += 1
    assert not is_known(refusals)


def test_a_resource_that_is_gone_and_many_old_edits_are_forgotten() -> None:
    refusals = Refusals(Clock())
    for replicas in range(40):
        refusals.refused(KEY, {**BODY, "spec": {"replicas": replicas}}, None, REFUSED)
    assert is_known(refusals, {**BODY, "spec": {"replicas": 39}})
    assert not is_known(refusals, {**BODY, "spec": {"replicas": 0}})
    refusals.forget(KEY)
    assert not is_known(refusals, {**BODY, "spec": {"replicas": 39}})
