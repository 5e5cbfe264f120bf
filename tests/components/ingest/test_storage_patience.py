"""Servers that are busy, break off or are gone: asked again for a bounded time, then an error."""

import time
from collections.abc import Iterator

import pytest
from web_server import Site, serving

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.sources.items import SourceItem
from slimworks.components.ingest.storage import access
from slimworks.components.storage import remote

ITEM = SourceItem("1.jpg", "roses", "s3://photos/1.jpg")
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"
MOVED = b"<Error><Code>PermanentRedirect</Code><Message>Use the right endpoint</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


def reach(url: str) -> None:
    options = [
        f"--s3_endpoint_url={url}", "--s3_access_key_id=key", "--s3_secret_access_key=secret",
        "--s3_region_name=us-east-1",
    ]  # fmt: skip
    access.configure(options)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.02)
    with serving(Site({"/photos/1.jpg": b"photo"})) as running:
        reach(running.url)
        yield running
    access.configure([])


def test_a_busy_server_is_asked_again_until_it_answers(site: Site) -> None:
    site.failures, site.failure_body = [503, 500, 429], SLOW_DOWN
    assert access.read_item(ITEM, 100) == b"photo"
    assert len(site.requests) == 4


def test_a_server_that_stays_busy_stops_the_run_and_says_what_it_said(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.failures, site.failure_body = [503] * 99, SLOW_DOWN
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.3)
    with pytest.raises(DataError) as caught:
        access.read_item(ITEM, 100)
    assert caught.value.cause.endswith("(503 SlowDown: Reduce your request rate).")
    assert len(site.requests) > 2


def test_an_answer_that_breaks_off_is_no_image(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.cut_after = 3
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.3)
    with pytest.raises(DataError, match=r"s3://photos/1\.jpg cannot be read: its server"):
        access.read_item(ITEM, 100)


def test_a_refused_file_is_set_aside_at_once(site: Site) -> None:
    site.failures, site.failure_body = [403], DENIED
    found = access.read_item(ITEM, 100)
    assert found == Rejection("unreadable", "the server refuses it: Access Denied")
    assert len(site.requests) == 1


def test_another_region_says_what_to_set(site: Site) -> None:
    site.failures, site.failure_body = [301] * 9, MOVED
    with pytest.raises(ConfigError) as caught:
        access.read_item(ITEM, 100)
    assert caught.value.cause == "s3://photos/1.jpg is in another region: Use the right endpoint."
    assert "--s3_region_name=REGION in data.beam_pipeline_args" in caught.value.fix


def test_a_server_that_is_gone_stops_the_run_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "RETRY_SECONDS", 1.0)
    reach("http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        access.read_item(ITEM, 100)
    assert time.monotonic() - start < 20  # the first use of Beam's options costs seconds
    assert "Could not connect to the endpoint URL" in caught.value.cause
    assert caught.value.fix == (
        "Check the server and the network, then run again: what is checked already is kept."
    )


def test_a_server_that_is_away_is_announced_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.failures, site.failure_body = [503] * 3, SLOW_DOWN
    access.read_item(ITEM, 100)
    announced = [record for record in caplog.records if "does not answer" in record.message]
    assert [record.levelname for record in announced] == ["WARNING"]


def test_waiting_at_default_takes_about_a_minute() -> None:
    total, number = 0.0, 0
    for pause in remote._pauses("s3://photos/1.jpg"):
        if total + pause > remote.RETRY_SECONDS:
            break
        total, number = total + pause, number + 1
    assert 45 < total <= 60
    assert number > 6
