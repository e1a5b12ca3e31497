"""The key that signs what the registry believes, and the file by which the registry knows it."""

import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm

ISSUER = "modelpress-registry-tokens"
SECONDS = 300  # how long a token is good for; a longer upload asks for another
_ALGORITHM = "ES256"
_KEY_ID = "modelpress"
_SKEW_SECONDS = 10


class Signer:
    """Signs tokens for one registry."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, service: str) -> None:
        self._key = key
        self._service = service

    def token(self, subject: str, access: Sequence[dict[str, Any]]) -> str:
        """Return a token for `access`."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": self._service,
            "iat": now,
            "nbf": now - _SKEW_SECONDS,
            "exp": now + SECONDS,
            "jti": secrets.token_hex(16),
            "access": list(access),
        }
        return jwt.encode(claims, self._key, _ALGORITHM, {"kid": _KEY_ID})


def kept_key(private: Path, public: Path) -> ec.EllipticCurvePrivateKey:
    """Return the key of `private` (PEM), made where there is none; write its JSON Web Key Set to `public`.

    Raises ValueError where the file holds no such key, and OSError.
    """
    if private.exists():
        key = load_pem_private_key(private.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{private}: holds no key of an elliptic curve")
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        private.touch(mode=0o600)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    known = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    known |= {"kid": _KEY_ID, "alg": _ALGORITHM, "use": "sig"}
    public.write_text(json.dumps({"keys": [known]}))
    return key
