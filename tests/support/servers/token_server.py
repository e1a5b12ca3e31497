"""A token server as registries use it (https://distribution.github.io/distribution/spec/auth/token/)."""

import base64
import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.servers.servers import PASSWORD, USER

SERVICE, ISSUER, KEY_ID = "test-registry", "test-issuer", "test-key"


@dataclass
class TokenServer:
    """A running token server; `scopes` has what was asked for, `auth` the registry's configuration."""

    auth: dict[str, object]
    scopes: list[str] = field(default_factory=list)


@contextlib.contextmanager
def run_token_server(folder: Path) -> Iterator[TokenServer]:
    """Give USER with PASSWORD what is asked for, everybody else only pull."""
    folder.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    public = {"kty": "RSA", "kid": KEY_ID, "alg": "RS256", "use": "sig"}
    public |= {"n": _encode(_bytes(numbers.n)), "e": _encode(_bytes(numbers.e))}
    (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
    running = TokenServer({})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            running.scopes += query.get("scope", [])
            expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            given = self.headers.get("Authorization")
            if given not in (None, expected):
                self.send_error(401)
                return
            access = [_access(scope, write=given == expected) for scope in query.get("scope", [])]
            body = json.dumps({"token": _token(key, access)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep the tests' output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.auth["token"] = {
        "realm": f"http://127.0.0.1:{server.server_port}/token",
        "service": SERVICE,
        "issuer": ISSUER,
        "jwks": str(folder / "jwks.json"),
    }
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _access(scope: str, *, write: bool) -> dict[str, object]:
    kind, name, actions = scope.split(":")
    allowed = [action for action in actions.split(",") if write or action == "pull"]
    return {"type": kind, "name": name, "actions": allowed}


def _token(key: rsa.RSAPrivateKey, access: list[dict[str, object]]) -> str:
    now = int(time.time())
    header = {"typ": "JWT", "alg": "RS256", "kid": KEY_ID}
    claims = {"iss": ISSUER, "sub": USER, "aud": SERVICE, "iat": now, "nbf": now - 5, "exp": now + 300}
    parts = [_encode(json.dumps(part).encode()) for part in (header, {**claims, "access": access})]
    signature = key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
    return ".".join([*parts, _encode(signature)])


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
