"""manifests/gitops on a real API server: by the CRDs of Argo CD and Flux, and beside their settings."""

from collections.abc import Iterator
from functools import partial

import pytest
import yaml

from tests.support.cluster.api import ApiError, Json
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.verdicts import ARGOCD, CUSTOMIZATION
from tests.support.servers import binaries, module_files, needs

SAMPLES = {
    "argo-application": (ARGOCD / "application.yaml", "argocd"),
    "flux-kustomization": (ARGOCD.parent / "flux" / "models.yaml", "flux-system"),
    "flux-repository": (ARGOCD.parent / "flux" / "models.yaml", "flux-system"),
}
KEY = "resource.customizations.health.modelpress.dev_ModelDeployment"
SETTINGS: Json = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {
        "name": "argocd-cm",
        "namespace": "argocd",
        "labels": {"app.kubernetes.io/name": "argocd-cm", "app.kubernetes.io/part-of": "argocd"},
    },
    "data": {"timeout.reconciliation": "180s"},
}


@pytest.fixture(scope="module")
def namespaces(control_plane: ControlPlane) -> Iterator[None]:
    """The namespaces that the tools are installed in."""
    created = ("argocd", "flux-system")
    for name in created:
        control_plane.admin.create("namespaces", None, {"metadata": {"name": name}})
    yield
    for name in created:
        control_plane.admin.delete("namespaces", None, name)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.usefixtures("namespaces")
def test_a_sample_is_valid_by_the_tools_own_crd(control_plane: ControlPlane, name: str) -> None:
    needs.program(name)
    crd = module_files.place(name, binaries.cache())
    file, namespace = SAMPLES[name]
    definition = yaml.safe_load(crd.read_text())["spec"]
    (sample,) = [
        body for body in yaml.safe_load_all(file.read_text()) if body["kind"] == definition["names"]["kind"]
    ]
    where = f"/apis/{sample['apiVersion']}/namespaces/{namespace}/{definition['names']['plural']}"
    strict = partial(control_plane.admin.request, "POST", where, dryRun="All", fieldValidation="Strict")
    control_plane.kubectl("apply", "--server-side", "-f", str(crd))
    try:
        wait_until("the kind served", lambda: control_plane.admin.request("GET", where))
        assert strict(sample)["metadata"]["namespace"] == namespace
        with pytest.raises(ApiError, match="unknown field"):
            strict({**sample, "spec": {**sample["spec"], "wiat": True}})
    finally:
        control_plane.kubectl("delete", "-f", str(crd))


@pytest.mark.usefixtures("namespaces")
def test_the_health_script_joins_the_settings_of_argo_cd(control_plane: ControlPlane) -> None:
    def settings() -> Json:
        where = "/api/v1/namespaces/argocd/configmaps/argocd-cm"
        data: Json = control_plane.admin.request("GET", where)["data"]
        return data

    def install() -> None:
        patch = control_plane.kubectl("kustomize", str(ARGOCD)).stdout
        control_plane.kubectl("-n", "argocd", "patch", "configmap", "argocd-cm", "--patch", patch)

    control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump(SETTINGS))
    install()
    script = (CUSTOMIZATION / "health.lua").read_text()
    assert settings() == {**SETTINGS["data"], KEY: script}
    changed = {**SETTINGS, "data": {"timeout.reconciliation": "60s"}}
    upgrade = yaml.safe_dump(changed)
    for mode in ((), ("--server-side", "--force-conflicts")):
        control_plane.kubectl("apply", *mode, "-f", "-", input=upgrade)
        assert settings() == {**changed["data"], KEY: script}
    install()
