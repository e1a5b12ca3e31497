"""Lists of objects: page by page, or one by its name. Reads only."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from modelpress.controllers.resources import Resource
from modelpress.controllers.rest import Request, Rest

PAGE, METADATA_PAGE = 100, 500  # objects of one answer: parsed, each is many times its JSON


def whole(item: dict[str, Any], resource: Resource) -> dict[str, Any]:
    """Return an item of a list with what a list says only once."""
    return {"apiVersion": resource.api_version, "kind": resource.kind, **item}


def selection(resource: Resource) -> dict[str, str]:
    """Return the query that finds our objects of a kind."""
    return {"labelSelector": resource.label} if resource.label else {}


def pages(rest: Rest, request: Request) -> Iterator[dict[str, Any]]:
    """Yield the answers to a list, page by page. Raises what `Rest.send` raises."""
    limit = METADATA_PAGE if request.metadata_only else PAGE
    query = {**request.query, **selection(request.resource), "limit": str(limit)}
    while True:
        page = rest.send(replace(request, query=query))
        yield page
        token = page["metadata"].get("continue")
        if not token:
            return
        query["continue"] = token


def named(rest: Rest, resource: Resource, namespace: str, name: str) -> list[dict[str, Any]]:
    """Return our object of a name as it is now, if there is one: by a list, which we may do of each kind."""
    query = {**selection(resource), "fieldSelector": f"metadata.name={name}"}
    items = rest.send(Request("list", resource, namespace, query=query)).get("items") or ()
    return [whole(item, resource) for item in items]
