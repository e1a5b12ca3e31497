"""A bare client of the Kubernetes API: JSON in, JSON out; for the test node and for the tests."""

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
ROOTS = {
    "pods": "/api/v1",
    "nodes": "/api/v1",
    "secrets": "/api/v1",
    "services": "/api/v1",
    "events": "/api/v1",
    "namespaces": "/api/v1",
    "serviceaccounts": "/api/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "controllerrevisions": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "modeldeployments": "/apis/modelpress.dev/v1alpha1",
}


class ApiError(Exception):
    """An answer other than 2xx."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def path(plural: str, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
    """Return the path of a collection, an object or its subresource."""
    parts = [ROOTS[plural], *(("namespaces", namespace) if namespace else ()), plural, name, sub]
    return "/".join(part for part in parts if part)


class Api:
    """One user of an API server; may be used from several threads."""

    def __init__(self, server: str, authority: Path, certificate: tuple[Path, Path]) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(str(certificate[0]), str(certificate[1]))
        self._client = httpx.Client(base_url=server, verify=context, timeout=30, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        where: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        content_type: str = "application/json",
        **params: Any,
    ) -> Json:
        """Send one request; the answer as JSON. Raises ApiError."""
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type} if content else {}
        answer = self._client.request(method, where, content=content, headers=headers, params=params)
        if answer.is_error:
            raise ApiError(answer.status_code, answer.text)
        try:
            parsed: Json = answer.json()
        except json.JSONDecodeError:  # /readyz and its kind answer text
            return {"text": answer.text}
        return parsed

    def get(self, plural: str, namespace: str | None = None, name: str | None = None, **params: Any) -> Json:
        """Read an object or a list."""
        return self.request("GET", path(plural, namespace, name), **params)

    def find(self, plural: str, namespace: str | None, name: str) -> Json | None:
        """Read an object, None where it does not exist."""
        try:
            return self.get(plural, namespace, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(self, plural: str, namespace: str | None = None, selector: str = "") -> list[Json]:
        """Read all objects of a kind that carry the labels."""
        items: list[Json] = self.get(plural, namespace, labelSelector=selector)["items"]
        return items

    def create(self, plural: str, namespace: str | None, body: Mapping[str, Any]) -> Json:
        """Create an object."""
        return self.request("POST", path(plural, namespace), body)

    def patch(
        self, plural: str, namespace: str | None, name: str, body: Mapping[str, Any], sub: str | None = None
    ) -> Json:
        """Apply a JSON merge patch (RFC 7386)."""
        return self.request("PATCH", path(plural, namespace, name, sub), body, content_type=MERGE)

    def json_patch(self, plural: str, namespace: str | None, name: str, pointer: str, value: Any) -> Json:
        """Replace what a JSON pointer names (RFC 6902)."""
        content: Any = [{"op": "replace", "path": pointer, "value": value}]
        return self.request("PATCH", path(plural, namespace, name), content, content_type=JSON_PATCH)

    def delete(self, plural: str, namespace: str | None, name: str, **params: Any) -> Json:
        """Delete an object; missing is fine."""
        try:
            return self.request("DELETE", path(plural, namespace, name), **params)
        except ApiError as error:
            if error.code in (404, 409):  # gone, or another of the name where a uid was given
                return {}
            raise

    def watch(self, plural: str, **params: Any) -> Iterator[tuple[str, Json]]:
        """Yield ("SYNC", the list of all namespaces), then ("ADDED" | "MODIFIED" | "DELETED", object).

        A watch that the server ends starts anew with a list. Raises httpx.HTTPError when the server is gone.
        """
        while True:
            listed = self.get(plural, **params)
            yield "SYNC", listed
            version = listed["metadata"]["resourceVersion"]
            query = {**params, "watch": "1", "resourceVersion": version, "timeoutSeconds": 300}
            timeout = httpx.Timeout(30, read=330)
            with self._client.stream("GET", path(plural), params=query, timeout=timeout) as answer:
                for line in answer.iter_lines():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    yield event["type"], event["object"]
