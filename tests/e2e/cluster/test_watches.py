"""What the watches and the resync make of a real API server's objects."""

import asyncio
import threading

from modelpress.controllers.reflector import Reflector
from modelpress.controllers.resources import JOB
from modelpress.controllers.resync import Resync
from modelpress.controllers.store import Store
from modelpress.planning.types import Key
from tests.support.cluster.adapter import ClusterFixture
from tests.support.cluster.controlplane import wait_until


def test_what_a_watch_did_not_show_is_read_by_the_resync(fixture: ClusterFixture) -> None:
    made = fixture.cluster.apply(fixture.job("digits-1"))
    fixture.look()
    resync = Resync(fixture.rest, fixture.store, [fixture.namespace])
    writes = fixture.rest.writes()
    told: list[Key] = []

    def compare() -> list[Key]:
        told.clear()
        asyncio.run(resync.compare(0, told.append))
        return told

    def jobs() -> dict[str, int]:
        return {entry.name: entry.version for _, entry in fixture.store.all_of("Job").values()}

    assert compare() == [], "nothing was lost"
    changed = fixture.api.patch("jobs", fixture.namespace, "digits-1", {"metadata": {"labels": {"a": "b"}}})
    assert jobs()["digits-1"] < int(changed["metadata"]["resourceVersion"])
    assert compare() == [fixture.key]
    assert jobs() == {"digits-1": int(changed["metadata"]["resourceVersion"])}
    fixture.api.create("jobs", fixture.namespace, fixture.job("digits-2"))
    assert compare() == [fixture.key]
    assert jobs().keys() == {"digits-1", "digits-2"}
    fixture.api.delete("jobs", fixture.namespace, "digits-1", propagationPolicy="Background")
    wait_until("gone", lambda: fixture.api.find("jobs", fixture.namespace, "digits-1") is None)
    assert compare() == [fixture.key]
    assert jobs().keys() == {"digits-2"}
    assert fixture.store.owner_of(made["metadata"]["uid"]) is None
    assert compare() == []
    assert fixture.rest.writes() == writes


def test_a_reflector_shows_what_is_there_and_each_change(fixture: ClusterFixture) -> None:
    fixture.cluster.apply(fixture.job("digits-1"))
    store, stopped, told = Store(), threading.Event(), list[Key]()
    reflector = Reflector(fixture.rest, JOB, fixture.namespace, store, threading.Lock())
    thread = threading.Thread(target=reflector.run, args=(told.append, stopped), daemon=True)
    thread.start()

    def shown() -> set[str]:
        return {entry.name for _, entry in store.all_of("Job").values()}

    assert reflector.listed.wait(30)
    assert shown() == {"digits-1"}
    fixture.cluster.apply(fixture.job("digits-2"))
    wait_until("added", lambda: shown() == {"digits-1", "digits-2"})
    fixture.api.delete("jobs", fixture.namespace, "digits-1", propagationPolicy="Background")
    wait_until("removed", lambda: shown() == {"digits-2"})
    assert set(told) == {fixture.key}
    stopped.set()
    fixture.api.delete("jobs", fixture.namespace, "digits-2", propagationPolicy="Background")
    thread.join(30)
    assert not thread.is_alive()
