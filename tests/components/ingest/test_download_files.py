"""Downloads over real HTTP: resumed, from another mirror, never used with a wrong digest."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from web_server import Site, serving

from slimworks.components.errors import DataError
from slimworks.components.ingest import downloads
from slimworks.components.ingest.downloads import PublishedFile

CONTENT = np.random.default_rng(0).bytes(1_000_000)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_PAUSE_SECONDS", 0.0)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"/a.bin": CONTENT})) as running:
        yield running


def published(*urls: str, content: bytes = CONTENT) -> PublishedFile:
    return PublishedFile("a.bin", len(content), hashlib.sha256(content).hexdigest(), urls)


def refusal(file: PublishedFile, folder: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        downloads.fetch(file, folder)
    return caught.value


def test_a_file_is_downloaded_and_nothing_is_left_beside_it(site: Site, tmp_path: Path) -> None:
    path = downloads.fetch(published(f"{site.url}/a.bin"), tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".lock", "a.bin"]


def test_a_download_that_breaks_off_again_and_again_is_taken_up(site: Site, tmp_path: Path) -> None:
    site.cut_after = 150_000
    path = downloads.fetch(published(f"{site.url}/a.bin"), tmp_path)
    assert path.read_bytes() == CONTENT
    starts = [asked for _, asked in site.requests]
    assert starts[:3] == [None, "bytes=150000-", "bytes=300000-"]


def test_a_download_of_an_earlier_run_is_taken_up(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:999_990])
    assert downloads.fetch(published(f"{site.url}/a.bin"), tmp_path).read_bytes() == CONTENT
    assert site.requests == [("/a.bin", "bytes=999990-")]


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.has_ranges = False
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:10])
    assert downloads.fetch(published(f"{site.url}/a.bin"), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_begun_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"x")
    assert downloads.fetch(published(f"{site.url}/a.bin"), tmp_path).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.failures = [503, 429]
    assert downloads.fetch(published(f"{site.url}/a.bin"), tmp_path).read_bytes() == CONTENT


def test_the_next_mirror_goes_on_where_the_first_stopped(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:10])
    file = published(f"{site.url}/gone.bin", f"{site.url}/a.bin")
    assert downloads.fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.requests[-1] == ("/a.bin", "bytes=10-")


def test_a_page_in_place_of_the_file_does_not_cost_what_is_there(
    site: Site, tmp_path: Path
) -> None:
    site.files["/login"] = b"<html>Please log in</html>"
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:10])
    error = refusal(published(f"{site.url}/login"), tmp_path)
    assert "/login: it has 26 bytes, 1000000 are expected" in error.cause
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:10]


def test_other_content_of_the_same_size_is_not_kept(site: Site, tmp_path: Path) -> None:
    site.files["/a.bin"] = bytes(len(CONTENT))
    error = refusal(published(f"{site.url}/a.bin"), tmp_path)
    assert "its content is not what was published: sha256 " in error.cause
    assert not list(tmp_path.glob("a.bin*"))


def test_a_damaged_part_is_replaced_by_the_next_mirrors_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"x" * 10)
    file = published(f"{site.url}/a.bin", f"{site.url}/a.bin")
    assert downloads.fetch(file, tmp_path).read_bytes() == CONTENT


def test_no_network_says_which_file_to_put_where(tmp_path: Path) -> None:
    error = refusal(published("http://127.0.0.1:9/a.bin"), tmp_path)
    assert error.cause == (
        "a.bin cannot be downloaded: http://127.0.0.1:9/a.bin: [Errno 111] Connection refused."
    )
    assert error.fix == (
        "Run again where there is a network, or put a.bin (1000000 bytes) into one folder and add "
        "--set data.download_dir=FOLDER"
    )


def test_another_try_says_where_it_starts(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site.failures, site.cut_after = [503], 600_000
    url = f"{site.url}/a.bin"
    downloads.fetch(published(url), tmp_path)
    assert f"ingest: {url}: HTTP 503 Service Unavailable; trying again from byte 0" in caplog.text
    assert "; trying again from byte 600000" in caplog.text


def test_a_folder_that_cannot_be_written_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = refusal(published(f"{site.url}/a.bin"), tmp_path / "file")
    assert error.cause == f"a.bin cannot be kept in {tmp_path / 'file'}: File exists."
    assert "--set data.download_dir=FOLDER" in error.fix


def test_two_processes_at_once_download_once(site: Site, tmp_path: Path) -> None:
    file = published(f"{site.url}/a.bin")
    threads = [threading.Thread(target=downloads.fetch, args=(file, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(site.requests) == 1


def test_a_file_of_another_size_is_not_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(DataError) as caught:
        downloads.require_published(published(), tmp_path / "a.bin")
    assert "it has 4 bytes, expected 1000000 bytes with sha256 " in caught.value.cause
    assert caught.value.fix.startswith("Move it away")
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
