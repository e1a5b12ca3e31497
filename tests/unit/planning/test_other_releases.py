"""What another release, or an older CRD, leaves in a status is no reason to write it again."""

from dataclasses import replace

import pytest

from modelpress.api import identity
from modelpress.planning.plan import decide
from tests.unit.planning.fake_cluster import SETTINGS, FakeCluster, ready_cluster


def of_another_release(fake: FakeCluster) -> None:
    fake.status["greeting"] = "hello"
    fake.status["current"]["signature"] = "abc"


def test_fields_that_this_release_does_not_know_are_left_until_something_else_is_to_be_said() -> None:
    fake = ready_cluster()
    of_another_release(fake)
    assert fake.plan().status is None
    fake.edit(replicas=2)
    status = fake.plan().status
    assert status is not None
    assert "greeting" not in status


@pytest.mark.parametrize("field", ["replicas", "url", "current"])
def test_a_field_that_is_gone_is_written_again(field: str) -> None:
    fake = ready_cluster()
    before = dict(fake.status)
    del fake.status[field]
    assert fake.plan().status == before


def test_a_status_of_which_the_api_server_keeps_no_more_is_not_written_again_until_it_differs() -> None:
    fake = ready_cluster()
    del fake.status["url"]
    status = fake.plan().status
    observed = replace(fake.observe(), vain_status=identity.digest(status))
    assert decide(observed, SETTINGS).status is None
    fake.edit(replicas=2)
    observed = replace(fake.observe(), vain_status=identity.digest(status))
    assert decide(observed, SETTINGS).status is not None
