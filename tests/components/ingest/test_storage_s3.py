"""S3 through a real S3 server: found, read in place, refused by name, patient while it is away."""

import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from s3_server import ACCESS_KEY, SECRET_KEY, S3Server, server_binary

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.sources.items import SourceItem
from slimworks.components.ingest.storage import access
from slimworks.components.storage import remote

pytestmark = pytest.mark.engine
_MAX_BYTES = 10_000_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture
def server(running: S3Server) -> Iterator[S3Server]:
    """The server, with an empty bucket `photos` and this process set up to reach it."""
    client = running.client()
    bucket = running.root / "photos"
    subprocess.run(["rm", "-rf", str(bucket)], check=True)
    client.create_bucket(Bucket="photos")
    access.configure(running.options())
    yield running
    access.configure([])


def put(server: S3Server, key: str, content: bytes) -> str:
    server.client().put_object(Bucket="photos", Key=key, Body=content)
    return f"s3://photos/{key}"


def read(uri: str, max_bytes: int = _MAX_BYTES, kind: str = "file", key: str = "") -> object:
    return access.read_item(SourceItem("1.jpg", "roses", uri, kind, key), max_bytes)


def test_files_are_found_at_any_depth_below_a_folder(server: S3Server) -> None:
    uri = put(server, "set/roses/red/1.jpg", b"xyz")
    put(server, "set/tulips/ä b#?%20.jpg", b"")
    put(server, "settings/1.jpg", b"not below the folder")
    found = {file.name: (file.path, file.size) for file in access.walk_files("s3://photos/set")}
    assert found == {
        "roses/red/1.jpg": (uri, 3),
        "tulips/ä b#?%20.jpg": ("s3://photos/set/tulips/ä b#?%20.jpg", 0),
    }


def test_names_of_a_folder_say_what_is_a_folder(server: S3Server) -> None:
    put(server, "set/roses/1.jpg", b"x")
    put(server, "set/labels.csv", b"x")
    assert access.list_names("s3://photos/set/") == [("labels.csv", False), ("roses", True)]
    assert access.list_names("s3://photos") == [("set", True)]


def test_a_listing_of_many_pages_is_complete(server: S3Server) -> None:
    folder = server.root / "photos" / "many"
    folder.mkdir()
    for number in range(2_100):
        (folder / f"{number}.jpg").touch()
    found = [file.name for file in access.walk_files("s3://photos/many")]
    assert sorted(found) == sorted(f"{number}.jpg" for number in range(2_100))


def test_a_folder_that_is_not_there_is_empty(server: S3Server) -> None:
    assert list(access.walk_files("s3://photos/gone")) == []
    assert not access.is_folder("s3://photos/gone")


def test_a_folder_is_told_from_a_file_and_from_the_start_of_a_name(server: S3Server) -> None:
    uri = put(server, "roses/1.jpg", b"x")
    assert access.is_folder("s3://photos/roses")
    assert access.is_folder("s3://photos")
    assert not access.is_folder("s3://photos/ros")
    assert not access.is_folder(uri)
    assert access.exists(uri)
    assert access.exists("s3://photos/roses")
    assert not access.exists("s3://photos/ros")


def test_bytes_are_the_files_own(server: S3Server) -> None:
    content = np.random.default_rng(0).bytes(3_000_000)
    assert read(put(server, "1.jpg", content)) == content
    assert read(put(server, "2.jpg", b"")) == b""


def test_a_file_that_is_too_large_is_set_aside(server: S3Server) -> None:
    found = read(put(server, "1.jpg", b"x" * 101), max_bytes=100)
    assert found == Rejection("too_large", "data.max_file_bytes is 100")


def test_a_missing_file_is_set_aside(server: S3Server) -> None:
    assert read("s3://photos/gone.jpg") == Rejection("unreadable", "No such file or directory")
    with pytest.raises(FileNotFoundError):
        access.describe_file("s3://photos/gone.jpg")


def test_a_replaced_file_has_another_version(server: S3Server) -> None:
    uri = put(server, "1.jpg", b"old")
    before = access.describe_file(uri)
    assert [file.version for file in access.walk_files("s3://photos")] == [before.version]
    put(server, "1.jpg", b"new")
    assert access.describe_file(uri).version != before.version


def test_an_opened_file_can_be_read_at_any_place(server: S3Server) -> None:
    content = np.random.default_rng(1).bytes(700_000)
    with access.open_binary(put(server, "1.bin", content)) as stream:
        assert stream.read(10) == content[:10]
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == content[-10:]
        stream.seek(300_000)
        assert stream.read(400_000) == content[300_000:]


def _zip_bytes(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("roses/1.jpg", content)
    return stream.getvalue()


def test_a_zip_archive_is_read_in_place_and_anew_after_it_changed(server: S3Server) -> None:
    old, new = np.random.default_rng(2).bytes(600_000), b"new"
    uri = put(server, "a.zip", _zip_bytes(old))
    assert read(uri, kind="zip", key="roses/1.jpg") == old
    put(server, "a.zip", _zip_bytes(new))
    assert read(uri, kind="zip", key="roses/1.jpg") == new


def test_a_file_that_may_not_be_read_is_set_aside_alone(server: S3Server) -> None:
    open_uri, secret_uri = put(server, "1.jpg", b"x"), put(server, "secret.jpg", b"x")
    _add_reader(server)
    access.configure(server.options("reader", "reader-secret"))
    assert read(open_uri) == b"x"
    found = read(secret_uri)
    assert isinstance(found, Rejection)
    assert (found.reason, found.detail.partition(":")[0]) == ("unreadable", "the server refuses it")


def _add_reader(server: S3Server) -> None:
    admin = [str(server_binary()), "admin", "--access", ACCESS_KEY, "--secret", SECRET_KEY]
    subprocess.run(
        [*admin, "--endpoint-url", server.url, "create-user", "--access", "reader",
         "--secret", "reader-secret", "--role", "user"],
        check=True, capture_output=True,
    )  # fmt: skip
    files, resource = {"AWS": ["reader"]}, "arn:aws:s3:::photos"
    allow = {"Effect": "Allow", "Principal": files, "Action": ["s3:*"]}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {**allow, "Resource": [resource, f"{resource}/*"]},
            {**allow, "Effect": "Deny", "Resource": [f"{resource}/secret.jpg"]},
        ],
    }
    server.client().put_bucket_policy(Bucket="photos", Policy=json.dumps(policy))


@pytest.mark.parametrize("call", [read, access.describe_file, access.list_names])
def test_wrong_credentials_stop_the_run(server: S3Server, call) -> None:  # type: ignore[no-untyped-def]
    uri = put(server, "1.jpg", b"x")
    access.configure(server.options(secret="wrong"))
    with pytest.raises(ConfigError) as caught:
        call(uri)
    assert caught.value.cause.startswith(
        f"The server refuses the credentials for {uri}: SignatureDoesNotMatch, "
    )
    assert caught.value.fix.startswith("Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def test_a_bucket_that_is_not_there_stops_the_run(server: S3Server) -> None:
    with pytest.raises(ConfigError) as caught:
        access.is_folder("s3://fotos/roses")
    assert caught.value.cause == "s3://fotos/roses: there is no bucket 'fotos' on this server."
    assert "AWS_ENDPOINT_URL" in caught.value.fix


def test_a_name_that_cannot_be_a_bucket_is_named(server: S3Server) -> None:
    with pytest.raises(ConfigError) as caught:
        access.is_folder("s3://my photos!/roses")
    assert "'my photos!' is no name of a bucket" in caught.value.cause


def _certificate(folder: Path) -> Path:
    path = folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def test_a_certificate_is_trusted_only_when_it_is_named(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    server = S3Server(tmp_path / "s3", certificate)
    try:
        (server.root / "photos").mkdir()
        (server.root / "photos" / "1.jpg").write_bytes(b"x")
        access.configure(server.options())
        with pytest.raises(ConfigError) as caught:
            access.is_folder("s3://photos")
        access.configure([*server.options(), f"--s3_verify={certificate}"])
        assert access.list_names("s3://photos") == [("1.jpg", False)]
    finally:
        server.kill()
    assert caught.value.cause.startswith("s3://photos: the server's certificate is not trusted (")
    assert "AWS_CA_BUNDLE=FILE, or --s3_verify=FILE" in caught.value.fix


def test_reading_goes_on_after_a_killed_server_is_back(server: S3Server) -> None:
    content = np.random.default_rng(3).bytes(2_000_000)
    uri = put(server, "1.bin", content)
    with access.open_binary(uri) as stream:
        start = stream.read(300_000)
        server.kill()
        back = threading.Timer(1.0, server.start)
        back.start()
        rest = stream.read()
        back.join()
    assert start + rest == content


def test_listing_goes_on_after_a_killed_server_is_back(server: S3Server) -> None:
    folder = server.root / "photos" / "many"
    folder.mkdir()
    for number in range(1_100):
        (folder / f"{number}.jpg").touch()
    files = access.walk_files("s3://photos/many")
    names = [next(files).name]
    server.kill()
    back = threading.Timer(1.0, server.start)
    back.start()
    names += [file.name for file in files]
    back.join()
    assert sorted(names) == sorted(f"{number}.jpg" for number in range(1_100))


def test_a_server_that_stays_away_stops_the_run_in_bounded_time(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put(server, "1.jpg", b"x")
    monkeypatch.setattr(remote, "RETRY_SECONDS", 2.0)
    server.kill()
    start = time.monotonic()
    try:
        with pytest.raises(DataError) as caught:
            read(uri)
    finally:
        server.start()
    assert time.monotonic() - start < 10
    assert caught.value.cause.startswith(f"{uri} cannot be read: its server did not answer for ")
    assert caught.value.fix == (
        "Check the server and the network, then run again: what is checked already is kept."
    )


_READ_IN_ANOTHER_PROCESS = """
import sys
from slimworks.components.ingest.storage import access
print([file.name for file in access.walk_files(sys.argv[1])])
"""


def _read_with(environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    clean |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", _READ_IN_ANOTHER_PROCESS, "s3://photos"],
        env=clean | environment, capture_output=True, text=True,
    )  # fmt: skip


def test_the_standard_environment_variables_are_enough(server: S3Server, tmp_path: Path) -> None:
    put(server, "1.jpg", b"x")
    environment = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    done = _read_with(environment, tmp_path)
    assert done.stdout == "['1.jpg']\n", done.stderr


def test_missing_credentials_say_what_to_set(server: S3Server, tmp_path: Path) -> None:
    done = _read_with({"AWS_ENDPOINT_URL": server.url}, tmp_path)
    assert "ConfigError: There are no credentials to read s3://photos with" in done.stderr
    assert "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in done.stderr
