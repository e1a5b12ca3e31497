"""The CustomResourceDefinition: fresh, small, described and bounded everywhere."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpress.api import crd
from modelpress.api.spec import Spec

FILE = Path(__file__).resolve().parents[3] / "crds" / "modelpress.dev_modeldeployments.yaml"
# Kubernetes checks these itself; their own schema would make the CRD too large.
FREE = {"tolerations", "affinity", "topologySpreadConstraints", "env", "resources", "resourceClaims"}


def schemas(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from schemas(below, f"{path}.{name}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from schemas(schema["additionalProperties"], f"{path}{{}}")


ROOT = crd.root_schema()
OWN = [  # Kubernetes bounds apiVersion, kind and metadata
    *schemas(ROOT["properties"]["spec"], "spec"),
    *schemas(ROOT["properties"]["status"], "status"),
]


def test_the_file_in_crds_is_what_the_types_generate() -> None:
    assert FILE.read_text() == crd.to_yaml(), "stale: run `make crd`"


def test_the_file_stays_below_64_kib_and_readable() -> None:
    text = FILE.read_text()
    assert len(text.encode()) < 64 * 1024
    assert max(len(line) for line in text.splitlines()) <= 160
    assert "&id" not in text  # no anchors


def test_build_returns_a_fresh_copy_each_time() -> None:
    crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clear()
    assert crd.build() == yaml.safe_load(FILE.read_text())


@pytest.mark.parametrize(("path", "schema"), OWN, ids=[path for path, _ in OWN])
def test_every_property_is_described_typed_and_bounded(path: str, schema: Mapping[str, Any]) -> None:
    if not path.endswith(("[]", "{}")):
        description = schema["description"]
        assert description[0].isupper() or description.startswith(("originalBytes", "original ", "replicas"))
        assert description.endswith(".")
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        assert kind is None
        assert "maxLength" in schema
    elif kind == "string":
        assert "maxLength" in schema or "enum" in schema
    elif kind == "integer":
        assert schema["format"] in ("int32", "int64")
        assert path.startswith("status") or {"minimum", "maximum"} <= schema.keys()
    elif kind == "array":
        assert "maxItems" in schema
    elif kind == "object":
        closed = "properties" in schema
        assert closed or "maxProperties" in schema
        assert closed or "additionalProperties" in schema or FREE & set(path.replace("[]", "").split("."))
    else:
        assert kind == "boolean"


@pytest.mark.parametrize(("path", "schema"), OWN, ids=[path for path, _ in OWN])
def test_no_schema_carries_what_kubernetes_refuses_or_readers_do_not_need(
    path: str, schema: Mapping[str, Any]
) -> None:
    assert not {"$ref", "anyOf", "allOf", "title", "$defs"} & schema.keys()
    assert schema.get("default", 0) is not None
    assert schema.get("default") != {}, "a default of {} is refused on an object with CEL rules"


def test_each_rule_has_a_message_and_a_short_expression() -> None:
    rules = [rule for _, schema in [("", ROOT), *OWN] for rule in schema.get(crd.RULES, ())]
    assert len(rules) > 30
    for rule in rules:
        assert rule.keys() <= {"rule", "message", "fieldPath"}
        assert len(rule["message"]) <= 120
        assert "\n" not in rule["message"]


def test_whole_objects_have_defaults_down_to_the_last_field() -> None:
    fields = ROOT["properties"]["spec"]["properties"]
    assert fields["parallelism"]["default"] == {"data": 1, "tensor": 1, "pipeline": 1, "podsPerReplica": 1}
    assert fields["devices"]["default"] == {"type": "GPU"}
    assert fields["serving"]["default"]["maxRequestBytes"] == "64Mi"
    assert fields["strategy"]["default"] == {"type": "RollingUpdate"}
    assert fields["service"]["default"] == {"type": "ClusterIP"}
    assert fields["replicas"]["default"] == 1


def test_the_schema_knows_the_fields_of_the_types_and_no_other() -> None:
    aliases = {field.alias for field in Spec.model_fields.values()}
    assert aliases == set(ROOT["properties"]["spec"]["properties"])


def test_status_reads_as_unobserved_until_somebody_writes_it() -> None:
    assert ROOT["properties"]["status"]["default"] == {"observedGeneration": -1}


def test_conditions_merge_by_type() -> None:
    conditions = ROOT["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_names_subresources_and_columns() -> None:
    spec = crd.build()["spec"]
    version = spec["versions"][0]
    assert spec["names"]["shortNames"] == ["mdep"]
    assert version["subresources"]["status"] == {}
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    columns = version["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Ready", "Reason", "Desired", "Available", "Ratio", "Score", "Age",
    ]  # fmt: skip
    assert [column["name"] for column in columns if column.get("priority")] == ["URL"]
