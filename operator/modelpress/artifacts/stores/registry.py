"""An OCI registry as a store. Protocol: https://github.com/opencontainers/distribution-spec."""

import io
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import oras.utils
import requests
import urllib3

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError, UnavailableError
from modelpress.artifacts.credentials import registry_login
from modelpress.artifacts.image import (
    KEY_ANNOTATION,
    MANIFEST_TYPE,
    Blob,
    Descriptor,
    Image,
    kept_tag,
    key_tag,
    sha256_digest,
)
from modelpress.artifacts.meter import Meter
from modelpress.artifacts.stores.client import RegistryClient, speaks_plain_http
from modelpress.artifacts.stores.unpack import DIGEST, MAX_DOCUMENT, copy_verified, corrupt, parse, unpack

_ACCEPT = {"Accept": MANIFEST_TYPE}  # without it a registry may say that there is no such manifest
_PIECE = 2**20
_log = logging.getLogger(__name__)


class RegistryStore:
    """One repository of a registry."""

    def __init__(
        self, host: str, repository: str, *, plain_http_registry: str | None, secrets: Path | None
    ) -> None:
        login = partial(registry_login, secrets, host)
        login()  # what is wrong with the Secret is said at once
        self._client = RegistryClient(
            host, plain_http=speaks_plain_http(host, plain_http_registry), login=login
        )
        self._shown = f"{host}/{repository}"
        self._root = f"{self._client.url}/v2/{repository}"

    def push(self, image: Image, key: str) -> str:
        """Store an image under its artifact key and return its digest.

        A blob that is there already is not sent but read back: registries do not replace a damaged one, so
        that DataError (ArtifactCorrupt) is all that can be said of it.
        """
        for blob in image.blobs:
            if self._has(blob.descriptor):
                copy_verified(self, blob.descriptor, len)
            else:
                self._upload(blob)
        for tag in (kept_tag(image.digest), key_tag(key)):
            response = self._client.do_request(
                f"{self._root}/manifests/{tag}",
                "PUT",
                data=image.manifest,
                headers={"Content-Type": MANIFEST_TYPE},
            )
            self._expect(response, 201)
        if self.manifest(image.digest) != image.manifest:
            raise corrupt(f"{self._shown}: gives another manifest back than {image.digest}")
        _log.info("pushed %s@%s", self._shown, image.digest)
        return image.digest

    def find(self, key: str) -> str | None:
        """Return the digest of the complete artifact of this key, or None."""
        try:
            content = self._manifest(key_tag(key))
            digest = sha256_digest(content)
            parsed = parse(content, digest)
        except MissingError:
            return None
        except DataError as error:
            _log.warning("%s: the tag %s is no artifact: %s", self._shown, key_tag(key), error.message)
            return None
        if parsed.annotations.get(KEY_ANNOTATION) != key:
            return None
        blobs = (parsed.config, *parsed.layers)
        return digest if all(map(self._has, blobs)) else None

    def pull(self, digest: str, target: Path) -> None:
        """Write the verified files of an artifact to the folder `target`, which replaces an earlier one."""
        try:
            unpack(self, digest, target)
        except OSError as error:  # a fault of this machine: the client turns its own into the errors above
            raise UnavailableError(
                Reason.STORE_UNAVAILABLE, f"{target}: cannot be written: {error.strerror or error}"
            ) from error

    def manifest(self, digest: str) -> bytes:
        """Return the bytes of a manifest. Raises MissingError (ArtifactLost) where there is none."""
        if not DIGEST.fullmatch(digest):
            raise corrupt(f"{digest!r} is not a digest: sha256: and 64 hexadecimal digits")
        return self._manifest(digest)

    def copy(self, descriptor: Descriptor, write: Callable[[bytes], object]) -> None:
        """Pass the bytes of a blob to `write`. Raises MissingError (ArtifactLost) where there is none."""
        meter = Meter(_log, "download artifact", descriptor.size)
        with self._client.do_request(self._blob(descriptor), stream=True) as response:
            self._expect(response, 200, descriptor.digest)
            for piece in self._pieces(response):
                meter.advance(len(piece))
                write(piece)
        meter.finish()

    def _manifest(self, reference: str) -> bytes:
        url = f"{self._root}/manifests/{reference}"
        content = bytearray()
        with self._client.do_request(url, headers=_ACCEPT, stream=True) as response:
            self._expect(response, 200, reference)
            for piece in self._pieces(response):
                content += piece
                if len(content) > MAX_DOCUMENT:
                    raise corrupt(f"{self._shown}: manifest {reference} is longer than {MAX_DOCUMENT} bytes")
        return bytes(content)

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body as it is sent, which is what digests are of."""
        try:
            yield from response.raw.stream(_PIECE, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._client.no_answer(error) from error

    def _blob(self, descriptor: Descriptor) -> str:
        return f"{self._root}/blobs/{descriptor.digest}"

    def _has(self, descriptor: Descriptor) -> bool:
        response = self._client.do_request(self._blob(descriptor), "HEAD")
        if response.status_code == 404:
            return False
        self._expect(response, 200)
        return response.headers.get("Content-Length") in (None, str(descriptor.size))

    def _upload(self, blob: Blob) -> None:
        response = self._client.do_request(f"{self._root}/blobs/uploads/", "POST")
        self._expect(response, 202)
        session = urljoin(response.url, response.headers.get("Location", ""))
        url = oras.utils.append_url_params(session, {"digest": blob.descriptor.digest})
        meter = Meter(_log, "upload artifact", blob.descriptor.size)
        with _Metered(blob.path, meter) as body:
            response = self._client.do_request(
                url, "PUT", data=body, headers={"Content-Type": "application/octet-stream"}
            )
        self._expect(response, 201)
        meter.finish()

    def _expect(self, response: requests.Response, status: int, missing: str | None = None) -> None:
        """Raise what an answer means that is not `status`; for 404 that the artifact's part is lost."""
        if response.status_code == status:
            return
        if response.status_code == 404 and missing:
            raise MissingError(Reason.ARTIFACT_LOST, f"{self._shown}: has no {missing}")
        raise self._client.refusal(response)


class _Metered(io.FileIO):
    """A file that counts how much of it was read."""

    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path, "rb")
        self._meter = meter

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(-1 if size is None else size) or b""
        self._meter.advance(len(piece))
        return piece
