"""Warnings of a Job's report, on their way to the status."""

import json

from modelpress.api import contract
from modelpress.api.contract import JobResult
from tests.unit.planning.fake_cluster import ARTIFACT, FakeCluster

UNUSED = "data.evaluation: a.npz: array sample_weight is not used: no input or output is called so"


def test_a_warning_is_in_the_condition_and_in_the_event_and_stays_without_the_job() -> None:
    cluster = FakeCluster()
    cluster.settle()
    cluster.job_succeeds(warnings=[UNUSED, "a name with \x1b[2J in it"])
    cluster.settle()

    def said() -> str:
        [condition] = [c for c in cluster.status["conditions"] if c["type"] == "Compressed"]
        return str(condition["message"])

    expected = f"artifact {ARTIFACT}, 1000 bytes; {UNUSED}; a name with \\x1b[2J in it"
    assert said() == expected
    assert [note.message for note in cluster.notes if note.reason == "CompressionSucceeded"] == [expected]
    del cluster.objects["Job", cluster.job_name()]
    cluster.settle()
    assert said() == expected


def test_a_termination_message_has_room_for_what_it_must_hold() -> None:
    digest = f"sha256:{'a' * 64}"
    lines = [f"{number} {'ä' * 400}" for number in range(20)]
    kept = contract.first_warnings(lines)
    assert kept[-1] == "16 more: see report.json"
    result = JobResult(
        recipe_hash="1" * 64,
        source_digest=digest,
        artifact_key="k" * 64,
        artifact_digest=digest,
        original_bytes=1,
        compressed_bytes=1,
        warnings=kept,
    )
    text = contract.result_text(result)
    assert len(text.encode()) <= contract.TERMINATION_MESSAGE_LIMIT
    assert contract.parse_result(text).warnings == kept
    longer = result.model_copy(update={"warnings": ("\U0001f600" * 300,) * 5})
    found = contract.parse_result(contract.result_text(longer))
    assert 0 < len(found.warnings) < 5
    assert found.source_digest == digest


def test_a_result_of_an_earlier_release_has_no_warnings() -> None:
    cluster = FakeCluster()
    cluster.settle()
    assert "warnings" not in json.loads(cluster.job_result())
    cluster.job_succeeds()
    cluster.settle()
    assert cluster.says("Compressed") == ("True", "CompressionSucceeded")
