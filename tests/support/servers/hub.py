"""A mock of the Hugging Face Hub: the part of its HTTP API that reads repositories, with tokens.

Written after the Hub's answers: a repository that does not exist and one that the caller may not see are
both 401 with X-Error-Code RepoNotFound; a large file is a redirect to a storage host without the API's token.
"""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_REVISIONS = ("main", "v1", _COMMIT)


@dataclass
class Hub:
    """A running Hub; `files` maps OWNER/NAME to its files, `private` has the repositories that need TOKEN."""

    endpoint: str = ""
    token: str = "hf_only-for-tests"
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)  # paths that are a redirect to storage
    trouble: set[str] = field(default_factory=set)  # paths that end too early
    seen: list[tuple[str, str | None]] = field(default_factory=list)  # (path, Authorization header)


@contextlib.contextmanager
def run_hub() -> Iterator[Hub]:
    """Run an empty Hub on a free loopback port."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        kind = self.headers.get("Content-Type", "")
        self._answer(json.loads(body).get("paths", []) if "json" in kind else parse_qs(body).get("paths", []))

    def _answer(self, paths: Any = ()) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append((path, self.headers.get("Authorization")))
        if path.startswith("/storage/"):
            repo, file = path.removeprefix("/storage/").split(":", 1)
            self._content(self.hub.files[repo][file])
            return
        parts = path.strip("/").split("/")
        api = parts[0] == "api"
        repo = "/".join(parts[2:4] if api else parts[:2])
        if not self._may_see(repo):
            self._error(401, "RepoNotFound", "Invalid username or password.")
            return
        action, revision, rest = _split(parts[4:] if api else parts[2:])
        if revision not in _REVISIONS:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif action == "resolve":
            self._resolve(repo, rest)
        elif action == "tree":
            self._tree(repo, rest)
        elif action == "paths-info":
            entries = self._entries(repo)
            self._json([entry for entry in entries if entry["path"] in paths])
        else:
            names = [{"rfilename": name} for name in self.hub.files[repo]]
            self._json({"_id": "1", "id": repo, "modelId": repo, "sha": _COMMIT, "siblings": names})

    def _may_see(self, repo: str) -> bool:
        authorization = self.headers.get("Authorization")
        known = authorization in (None, f"Bearer {self.hub.token}")
        return (
            known and repo in self.hub.files and (repo not in self.hub.private or authorization is not None)
        )

    def _entries(self, repo: str) -> list[dict[str, Any]]:
        files = self.hub.files[repo]
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        return [
            *({"type": "directory", "oid": _COMMIT, "size": 0, "path": name} for name in sorted(folders)),
            *({"type": "file", "oid": _COMMIT, "size": len(files[name]), "path": name} for name in files),
        ]

    def _tree(self, repo: str, folder: str) -> None:
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        below = [
            entry for entry in self._entries(repo) if not folder or entry["path"].startswith(f"{folder}/")
        ]
        depth = len(PurePosixPath(folder).parts) + 1
        found = [entry for entry in below if recursive or len(PurePosixPath(entry["path"]).parts) == depth]
        if below:
            self._json(found)
        else:
            self._error(404, "EntryNotFound", f"{folder} does not exist")

    def _resolve(self, repo: str, name: str) -> None:
        content = self.hub.files[repo].get(name)
        if content is None:
            self._error(404, "EntryNotFound", "Entry not found")
        elif name in self.hub.stored:
            self.send_response(302)
            port = self.hub.endpoint.rpartition(":")[2]
            self.send_header("Location", f"http://localhost:{port}/storage/{repo}:{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._content(content, cut=name in self.hub.trouble)

    def _content(self, content: bytes, cut: bool = False) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{_COMMIT}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[start : start + 10 if cut else None])
        self.close_connection = True

    def _json(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _error(self, status: int, code: str, message: str) -> None:
        data = json.dumps({"error": message}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the tests' output clean."""


def _split(parts: list[str]) -> tuple[str, str, str]:
    """Return action, revision and path of the part of a request's path behind the repository."""
    action = parts[0] if parts else "info"
    return action, parts[1] if len(parts) > 1 else "main", "/".join(parts[2:])
