"""The nodes of a TensorFlow graph or function, as a walk over them needs them."""

from typing import Any


def base(name: str) -> str:
    """Return the node of an input: `node`, `node:0` in a graph, `node:output:0` in a function."""
    return name.split(":", 1)[0]


def called(node: Any) -> list[str]:
    """Return the functions that the attributes of a node name."""
    names = []
    for attribute in node.attr.values():
        kind = attribute.WhichOneof("value")
        if kind == "func":
            names.append(attribute.func.name)
        elif kind == "list":
            names.extend(function.name for function in attribute.list.func)
    return names


def in_order(nodes: list[Any]) -> list[Any]:
    """Order nodes so that inputs come first; those on a cycle keep their place at the end."""
    by_name = {node.name: node for node in nodes}
    waiting = {
        node.name: {base(name) for name in node.input if not name.startswith("^")} & by_name.keys()
        for node in nodes
    }
    users: dict[str, list[str]] = {}
    for name, needs in waiting.items():
        for need in needs:
            users.setdefault(need, []).append(name)
    ready = [name for name, needs in waiting.items() if not needs]
    order: list[Any] = []
    while ready:
        name = ready.pop()
        order.append(by_name[name])
        for user in users.get(name, ()):
            waiting[user].discard(name)
            if not waiting[user]:
                ready.append(user)
    done = {node.name for node in order}
    return order + [node for node in nodes if node.name not in done]
