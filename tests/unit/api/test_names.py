"""Names, labels and selectors."""

import re

from modelpress.api import names

LONGEST = "a" * 40
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def test_names_of_children_are_labels_even_for_the_longest_resource() -> None:
    job = names.job_name(LONGEST, "f" * 64, "again")
    revision = names.revision_name(LONGEST, "f" * 64)
    assert LABEL.fullmatch(job)
    assert LABEL.fullmatch(revision)
    assert len(job) <= 63 - len("-12345")  # the pods of a Job add six characters


def test_names_follow_from_the_hash_alone() -> None:
    assert names.job_name("digits", "a" * 64, None) == names.job_name("digits", "a" * 64, None)
    assert names.job_name("digits", "a" * 64, None) != names.job_name("digits", "b" * 64, None)
    assert names.revision_name("digits", "0123456789abcdef") == "digits-0123456789"


def test_a_retry_makes_another_job() -> None:
    tries = {names.job_name("digits", "a" * 64, retry) for retry in (None, "1", "2")}
    assert len(tries) == 3


def test_no_attempt_shares_its_name_with_another_retry() -> None:
    recipe = "a" * 64
    told = [
        (retry, attempt)
        for retry in (None, "", "1", "/1", "jan", "jan/1", "jan/1/1", '", 1]')
        for attempt in (0, 1, 11)
    ]
    made = {(retry or "", attempt) if attempt == 0 else (retry, attempt) for retry, attempt in told}
    assert len({names.job_name("digits", recipe, *each) for each in told}) == len(made)


def test_the_first_attempt_is_named_as_by_earlier_releases() -> None:
    assert names.job_name("digits", "a" * 64, "jan") == f"digits-{names.short('a' * 64 + 'jan')}"


def test_labels_never_claim_an_instance() -> None:
    labels = names.labels("digits", "worker")
    assert labels[names.NAME_LABEL] == "digits"
    assert "app.kubernetes.io/instance" not in labels
    assert all(len(value) <= 63 for value in names.labels(LONGEST, "compressor").values())


def test_the_selector_is_sorted_text() -> None:
    selector = names.worker_selector("digits")
    assert names.selector_text(selector) == "modelpress.dev/name=digits,modelpress.dev/role=entry"
