import hashlib
import logging
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError, PermissionDenied, UnavailableError, UsageError
from modelpress.api.spec import Source
from modelpress.artifacts.digests import directory_sha256
from modelpress.artifacts.sources.base import Fetched, fetch
from tests.support.artifact_folders import contents
from tests.support.servers.gate import gate
from tests.support.servers.servers import S3, Web, free_port, run_web, write_secret

CONTENT = b"a model\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def get(uri: str, target: Path, sha256: str | None = None, secrets: Path | None = None) -> Fetched:
    return fetch(Source(uri=uri, sha256=sha256), target, secrets=secrets, what="spec.model")


def test_a_local_file_arrives_under_its_name_with_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "my model.keras").write_bytes(CONTENT)
    fetched = get((tmp_path / "my model.keras").as_uri(), tmp_path / "out", SHA256)
    assert fetched.sha256 == SHA256
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.path.suffix == ".keras"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [fetched.path.name]


def test_a_local_directory_arrives_whole(tmp_path: Path) -> None:
    source = tmp_path / "saved"
    (source / "variables").mkdir(parents=True)
    (source / "saved_model.pb").write_bytes(b"graph")
    (source / "variables" / "variables.index").write_bytes(b"index")
    (source / "link.pb").symlink_to("saved_model.pb")
    fetched = get(source.as_uri() + "/", tmp_path / "out")
    assert contents(fetched.path) == {
        "saved_model.pb": b"graph",
        "link.pb": b"graph",
        "variables/variables.index": b"index",
    }
    assert fetched.sha256 == directory_sha256(source)


@pytest.mark.parametrize("kind", ["file outside", "directory outside", "directory inside", "broken", "pipe"])
def test_a_local_directory_with_anything_but_its_own_files_is_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "saved"
    (source / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_text("outside")
    odd = source / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to(
            {
                "file outside": tmp_path / "secret",
                "directory outside": tmp_path,
                "directory inside": source / "inner",
                "broken": source / "nothing",
            }[kind]
        )
    with pytest.raises(DataError, match="odd is"):
        get(source.as_uri(), tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_a_missing_local_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        get((tmp_path / "none.keras").as_uri(), tmp_path / "out")
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert "spec.model: file://" in caught.value.message


def test_a_wrong_pin_names_both_digests_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(CONTENT)
    pin = "0" * 64
    with pytest.raises(DataError) as caught:
        get((tmp_path / "m.keras").as_uri(), tmp_path / "out", pin)
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert pin in caught.value.message
    assert SHA256 in caught.value.message
    assert list((tmp_path / "out").iterdir()) == []


def test_a_scheme_that_is_not_supported_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scheme 'ftp'") as caught:
        get("ftp://host/m.keras", tmp_path / "out")
    assert caught.value.reason is Reason.NOT_SUPPORTED_YET


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(
        st.text(st.sampled_from("aB.-_ é0"), min_size=1, max_size=6).filter(
            lambda name: name.strip(".") and name != "-"  # which sha256sum takes for its input
        ),
        st.binary(max_size=20),
        min_size=1,
    )
)
def test_the_sha256_of_a_directory_is_what_the_documented_command_prints(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("directory")
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / f"d{name}").mkdir()
        (folder / f"d{name}" / name).write_bytes(content)
    documented = directory_sha256.__doc__
    assert documented is not None
    command = next(line for line in documented.splitlines() if "| sha256sum" in line).strip()
    printed = subprocess.run(
        ["bash", "-c", command.replace("cd DIR", 'cd "$1"'), "-", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert printed.stdout.split() == [directory_sha256(folder), "-"]


# http


def test_a_file_comes_over_http_with_progress(
    tmp_path: Path, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytes(range(256)) * 100_000  # 25.6 MB
    (web.folder / "m.tar.gz").write_bytes(content)
    with caplog.at_level(logging.INFO):
        fetched = get(f"{web.url}/m.tar.gz?signature=hidden", tmp_path / "out")
    assert fetched.sha256 == hashlib.sha256(content).hexdigest()
    assert fetched.path.name == "m.tar.gz"
    steps = [record.progress for record in caplog.records if hasattr(record, "progress")]
    assert steps[-1] == {"step": "download spec.model", "done": len(content), "total": len(content)}
    assert 1 < len(steps) <= 21
    assert "hidden" not in caplog.text


def test_a_missing_object_over_http_is_not_found(tmp_path: Path, web: Web) -> None:
    with pytest.raises(MissingError, match="404") as caught:
        get(f"{web.url}/none.keras", tmp_path / "out")
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("secret", "header"),
    [
        ({"username": "u", "password": "p\n"}, "Basic dTpw"),
        ({"token": "t0ken"}, "Bearer t0ken"),
    ],
)
def test_http_credentials_come_from_the_secret(
    tmp_path: Path, web: Web, secret: dict[str, str], header: str
) -> None:
    (web.folder / "m.keras").write_bytes(CONTENT)
    web.authorization = header
    given_secret = write_secret(tmp_path / "secret", secret)
    assert get(f"{web.url}/m.keras", tmp_path / "out", secrets=given_secret).sha256 == SHA256
    for wrong, message in (
        (None, "no credential was given"),
        (write_secret(tmp_path / "wrong", {"token": "other"}), "the credential is refused"),
    ):
        with pytest.raises(PermissionDenied, match=message) as caught:
            get(f"{web.url}/m.keras", tmp_path / "out", secrets=wrong)
        assert caught.value.reason is Reason.SOURCE_UNAUTHORIZED
        assert "other" not in caught.value.message


def test_a_redirect_to_another_origin_does_not_get_the_credential(tmp_path: Path, web: Web) -> None:
    secrets = write_secret(tmp_path / "secret", {"token": "t0ken"})
    with run_web(tmp_path / "elsewhere") as other:
        (other.folder / "m.keras").write_bytes(CONTENT)
        web.redirects["/m.keras"] = f"{other.url}/m.keras"
        assert get(f"{web.url}/m.keras", tmp_path / "out", secrets=secrets).sha256 == SHA256
        assert web.seen == [("/m.keras", "Bearer t0ken")]
        assert other.seen == [("/m.keras", None)]


def test_an_error_of_the_web_server_is_unavailable(tmp_path: Path, web: Web) -> None:
    web.statuses["/m.keras"] = 503
    with pytest.raises(UnavailableError, match="503") as caught:
        get(f"{web.url}/m.keras", tmp_path / "out")
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE


def test_a_body_that_ends_too_early_is_unavailable_and_leaves_nothing(tmp_path: Path, web: Web) -> None:
    web.cut.add("/m.keras")
    with pytest.raises(UnavailableError, match="before the whole content") as caught:
        get(f"{web.url}/m.keras", tmp_path / "out")
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_http_connection_is_unavailable(tmp_path: Path, scheme: str) -> None:
    port = free_port()
    with pytest.raises(UnavailableError, match=rf"127.0.0.1:{port}") as caught:
        get(f"{scheme}://user:hidden@127.0.0.1:{port}/m.keras?key=hidden", tmp_path / "out")
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE
    assert "hidden" not in caught.value.message


def test_an_unknown_host_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no answer") as caught:
        get("http://does-not-exist.invalid/m.keras", tmp_path / "out")
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE


def test_a_directory_over_http_is_refused(tmp_path: Path, web: Web) -> None:
    with pytest.raises(UsageError, match="one file"):
        get(f"{web.url}/saved/", tmp_path / "out")


# s3


def test_an_object_comes_from_s3(tmp_path: Path, s3: S3) -> None:
    uri = s3.put("object/models/m.keras", CONTENT)
    fetched = get(uri, tmp_path / "out", SHA256, s3.secrets(tmp_path / "secret"))
    assert fetched.path.name == "m.keras"
    assert fetched.path.read_bytes() == CONTENT


def test_an_object_larger_than_one_piece_comes_from_s3(tmp_path: Path, s3: S3) -> None:
    content = os.urandom(60 * 2**20)  # more than s3fs asks for in one request
    uri = s3.put("large/m.keras", content)
    fetched = get(uri, tmp_path / "out", secrets=s3.secrets(tmp_path / "secret"))
    assert fetched.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_saved_model_directory_comes_from_s3(tmp_path: Path, s3: S3, slash: str) -> None:
    s3.put("directory/saved/saved_model.pb", b"graph")
    s3.put("directory/saved/variables/variables.index", b"index")
    s3.put("directory/saved/assets/", b"")
    s3.put("directory/saved2/other.pb", b"other")
    fetched = get(f"s3://directory/saved{slash}", tmp_path / "out", secrets=s3.secrets(tmp_path / "secret"))
    assert contents(fetched.path) == {"saved_model.pb": b"graph", "variables/variables.index": b"index"}
    assert fetched.sha256 == directory_sha256(fetched.path)
    pinned = get(
        f"s3://directory/saved{slash}", tmp_path / "out", fetched.sha256, s3.secrets(tmp_path / "secret")
    )
    assert pinned == fetched


@pytest.mark.parametrize("path", ["missing/none.keras", "missing/none/", "no-such-bucket/m.keras"])
def test_what_is_missing_in_s3_is_not_found(tmp_path: Path, s3: S3, path: str) -> None:
    s3.put("missing/there.keras", CONTENT)
    with pytest.raises(MissingError) as caught:
        get(f"s3://{path}", tmp_path / "out", secrets=s3.secrets(tmp_path / "secret"))
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": "unknown"}, "the credential is refused"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the credential is refused"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credential was given"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "the Secret has no key AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_missing_or_refused_s3_credential_is_unauthorized(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    no_ambient_credentials(monkeypatch)
    uri = s3.put("private/m.keras", CONTENT)
    with pytest.raises(PermissionDenied, match=message) as caught:
        get(uri, tmp_path / "out", secrets=s3.secrets(tmp_path / "secret", **changes))
    assert caught.value.reason is Reason.SOURCE_UNAUTHORIZED
    assert s3.secret not in caught.value.message


def test_a_refused_s3_connection_is_unavailable(tmp_path: Path, s3: S3) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    secrets = s3.secrets(tmp_path / "secret", AWS_ENDPOINT_URL=endpoint)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1") as caught:
        get("s3://bucket/m.keras", tmp_path / "out", secrets=secrets)
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE


def test_without_a_secret_s3_uses_the_environment(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = s3.put("ambient/m.keras", CONTENT)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret)
    assert get(uri, tmp_path / "out").sha256 == SHA256


def test_a_secret_is_used_instead_of_the_environment(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = s3.put("explicit/m.keras", CONTENT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-process")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-process")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-process")
    before = dict(os.environ)
    assert get(uri, tmp_path / "out", secrets=s3.secrets(tmp_path / "secret")).sha256 == SHA256
    assert dict(os.environ) == before


@pytest.mark.parametrize("key", ["saved/../../escape", "saved/a\\b", "saved//b"])
def test_an_s3_key_that_is_no_file_name_is_refused(tmp_path: Path, s3: S3, key: str) -> None:
    bucket = f"odd{abs(hash(key)) % 10**8}"
    s3.put(f"{bucket}/saved/good.pb", b"graph")
    s3.put(f"{bucket}/{key}", b"odd")
    with pytest.raises(DataError, match="is no file name"):
        get(f"s3://{bucket}/saved/", tmp_path / "out", secrets=s3.secrets(tmp_path / "secret"))
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("uri", "changes", "message"),
    [
        ("s3://b~d/m.keras", {}, "[Bb]ucket"),
        ("s3://bucket/m.keras", {"AWS_ENDPOINT_URL": "no scheme"}, "no scheme"),
        ("s3://[bucket/m.keras", {}, "is not a URI"),
    ],
)
def test_what_s3_cannot_be_asked_for_is_a_usage_error(
    tmp_path: Path, s3: S3, uri: str, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        get(uri, tmp_path / "out", secrets=s3.secrets(tmp_path / "secret", **changes))


def test_a_secret_with_a_line_break_is_refused(tmp_path: Path, web: Web) -> None:
    secrets = write_secret(tmp_path / "secret", {"token": "a\r\nX-Injected: b"})
    with pytest.raises(PermissionDenied, match="key token holds a line break"):
        get(f"{web.url}/m.keras", tmp_path / "out", secrets=secrets)
    assert web.seen == []


def no_ambient_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")


def test_a_server_at_an_ipv6_address(tmp_path: Path, web: Web) -> None:
    (web.folder / "m.keras").write_bytes(b"content")
    with gate(web.url, "::1") as open_gate:
        open_gate.open()
        assert get(f"{open_gate.url}/m.keras", tmp_path / "out").path.read_bytes() == b"content"
    with pytest.raises(UnavailableError, match=rf"\[::1\]:{open_gate.host.rpartition(':')[2]}: "):
        get(f"{open_gate.url}/m.keras", tmp_path / "out")
