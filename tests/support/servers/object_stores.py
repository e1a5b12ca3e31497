"""Object stores beside S3, each on a free loopback port: fake-gcs-server, Azurite, and a mock of the Hub.

Functions are context managers. A conftest.py turns them into fixtures with
`from tests.support.servers.object_stores import *`: `gcs`, `azure`, `hub`.
"""

import base64
import contextlib
import datetime
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

from tests.support.servers import needs
from tests.support.servers.binaries import binary, cache
from tests.support.servers.hub import Hub, run_hub
from tests.support.servers.node_programs import azurite
from tests.support.servers.servers import free_port, running, wait, write_secret

__all__ = ["azure", "gcs", "hub"]


@dataclass(frozen=True)
class Gcs:
    """A running fake-gcs-server; it checks no credentials."""

    endpoint: str

    def put(self, path: str, content: bytes) -> str:
        """Store an object at bucket/key, making the bucket; return its URI."""
        bucket, key = path.split("/", 1)
        with httpx.Client(base_url=self.endpoint, trust_env=False) as client:
            client.post("/storage/v1/b", json={"name": bucket}).read()
            parameters = {"uploadType": "media", "name": key}
            answer = client.post(f"/upload/storage/v1/b/{bucket}/o", params=parameters, content=content)
            answer.raise_for_status()
        return f"gs://{path}"

    def secrets(self, folder: Path, **changes: str) -> Path:
        """Write the files of a Secret that names this server; an empty change leaves a key out."""
        return write_secret(folder, {"STORAGE_EMULATOR_HOST": self.endpoint, **changes})


@dataclass(frozen=True)
class Azure:
    """A running Azurite that takes only requests signed with its key."""

    endpoint: str
    account: str = "modelpress"
    key: str = base64.b64encode(b"only for tests" * 4).decode()

    def connection_string(self, credential: str) -> str:
        """Return a connection string of this server with a part such as AccountKey=..."""
        address = f"BlobEndpoint={self.endpoint}/{self.account}"
        return f"DefaultEndpointsProtocol=http;AccountName={self.account};{address};{credential}"

    def put(self, path: str, content: bytes, public: bool = False) -> str:
        """Store a blob at container/name, making the container; return its URI."""
        container, name = path.split("/", 1)
        service = BlobServiceClient.from_connection_string(self.connection_string(f"AccountKey={self.key}"))
        with service:
            client = service.get_container_client(container)
            if not client.exists():
                client.create_container(public_access="container" if public else None)
            client.upload_blob(name, content, overwrite=True)
        return f"az://{path}"

    def sas_token(self, container: str) -> str:
        """Return a token that may read and list one container."""
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        permission = ContainerSasPermissions(read=True, list=True)
        return generate_container_sas(
            self.account, container, account_key=self.key, permission=permission, expiry=expiry
        )

    def secrets(self, folder: Path, credential: str | None = None) -> Path:
        """Write the files of a Secret with a connection string to this server."""
        connection = self.connection_string(credential or f"AccountKey={self.key}")
        return write_secret(folder, {"AZURE_STORAGE_CONNECTION_STRING": connection})


@contextlib.contextmanager
def run_gcs(folder: Path) -> Iterator[Gcs]:
    """Run an empty Google Cloud Storage server."""
    needs.program("fake-gcs-server")
    server = Gcs(f"http://127.0.0.1:{(port := free_port())}")
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(binary("fake-gcs-server")), "-backend", "memory", "-scheme", "http", "-log-level", "error"]
    address = [
        "-host",
        "127.0.0.1",
        "-port",
        str(port),
        "-public-host",
        server.endpoint.removeprefix("http://"),
    ]
    with (folder / "log").open("w") as output:
        process = subprocess.Popen([*command, *address], stdout=output, stderr=subprocess.STDOUT)
        with running(process):
            wait(process, f"{server.endpoint}/storage/v1/b", folder / "log")
            yield server


@contextlib.contextmanager
def run_azure(folder: Path) -> Iterator[Azure]:
    """Run an empty Azure Blob Storage server."""
    needs.program("azurite")
    server = Azure(f"http://127.0.0.1:{(port := free_port())}")
    folder.mkdir(parents=True, exist_ok=True)
    command = [*azurite(cache()), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{server.account}:{server.key}"}
    with (folder / "log").open("w") as output:
        process = subprocess.Popen(
            [*command, *options], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        with running(process):
            wait(process, server.endpoint, folder / "log")
            yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    """A Google Cloud Storage server; each test uses its own bucket."""
    with run_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    """An Azure Blob Storage server; each test uses its own container."""
    with run_azure(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A mock of the Hugging Face Hub."""
    with run_hub() as server:
        yield server
