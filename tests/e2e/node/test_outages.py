"""A store that is away for a while: waited for, told without flapping, and used when it is back."""

from tests.e2e.node.conftest import JOB_SECONDS, SYSTEM, Installed
from tests.support.cluster.helpers import Deployed

CAUSE = "StoreUnavailable"


def test_a_store_that_is_away_is_waited_for_and_the_model_heals_by_itself(
    installed: Installed, team: str
) -> None:
    registry = ("-n", SYSTEM, "scale", "deployment/modelpress-registry")
    installed.kubectl(*registry, "--replicas=0")
    deployed = installed.deployed("outage", team)
    try:
        # a recipe of its own: no finished artifact is taken
        change = {"optimization": {"weightClipping": {"min": "-60", "max": "60"}}, "job": {"backoffLimit": 0}}
        deployed.apply(installed.spec(change))
        deployed.wait("the cause in the status", lambda: deployed.condition("Ready").get("reason") == CAUSE)
        told = deployed.condition("Ready")["lastTransitionTime"]
        first = deployed.job_names()
        deployed.wait("another attempt", lambda: not deployed.job_names() <= first)
        assert _truth(deployed) == {"Ready": "False", "Reconciling": "True", "Stalled": "False"}
    finally:
        installed.kubectl(*registry, "--replicas=1")
    assert deployed.condition("Ready")["reason"] == CAUSE, "the reason stays while attempts come and go"
    assert deployed.condition("Ready")["lastTransitionTime"] == told
    deployed.wait_current(JOB_SECONDS)
    admin = installed.cluster.control_plane.admin
    warnings = [
        event
        for event in admin.list("events", team)
        if event["involvedObject"].get("name") == "outage" and event["reason"] == CAUSE
    ]
    assert len(warnings) == 1, "one event for the whole outage"
    installed.kubectl("-n", team, "delete", "mdep", "outage")


def _truth(deployed: Deployed) -> dict[str, str]:
    kinds = ("Ready", "Reconciling", "Stalled")
    return {kind: deployed.condition(kind)["status"] for kind in kinds}
