"""What the token service of the default registry gives whom."""

import pytest

from modelpress.registry_tokens.access import Rule, namespace_of


@pytest.mark.parametrize(
    ("scope", "actions"),
    [
        ("repository:modelpress/shop:pull", ["pull"]),
        ("repository:modelpress/shop:pull,push", ["pull", "push"]),
        ("repository:modelpress/shop:push,pull,delete,*", ["push", "pull"]),
        ("repository:modelpress/shop:delete", None),
        ("repository:modelpress/bank:pull", None),
        ("repository:modelpress/shop/bank:pull", None),
        ("repository:modelpress:pull", None),
        ("repository:shop:pull,push", None),
        ("repository:modelpress/shop/../bank:pull", None),
        ("repository(plugin):modelpress/shop:pull", None),
        ("registry:catalog:*", None),
        ("repository:modelpress/shop", None),
        ("repository:host:5000/modelpress/shop:pull", None),
        ("", None),
    ],
)
def test_a_namespace_gets_its_own_repository_and_never_deletes(scope: str, actions: list[str] | None) -> None:
    granted = Rule("modelpress").granted([scope], "shop")
    assert [access["actions"] for access in granted] == ([actions] if actions else [])


def test_of_several_scopes_each_is_judged() -> None:
    own, other = "repository:modelpress/shop:pull,push", "repository:modelpress/bank:pull"
    for scopes in ([own, other], [f"{own} {other}"]):
        (granted,) = Rule("modelpress").granted(scopes, "shop")
        assert granted["name"] == "modelpress/shop"


def test_who_is_nobody_gets_nothing_or_may_read() -> None:
    asked = ["repository:modelpress/shop:pull,push"]
    assert Rule("modelpress").granted(asked, None) == []
    (granted,) = Rule("modelpress", anonymous_pull=True).granted(asked, None)
    assert granted["actions"] == ["pull"]
    catalog = Rule("modelpress", anonymous_pull=True).granted(["registry:catalog:pull"], None)
    assert catalog == []


@pytest.mark.parametrize(
    ("user", "namespace"),
    [
        ("system:serviceaccount:shop:default", "shop"),
        ("system:serviceaccount:shop", None),
        ("system:serviceaccount::default", None),
        ("system:serviceaccount:shop:default:more", None),
        ("system:node:shop:default", None),
        ("system:admin", None),
        ("", None),
    ],
)
def test_only_a_service_account_has_a_namespace(user: str, namespace: str | None) -> None:
    assert namespace_of(user) == namespace
