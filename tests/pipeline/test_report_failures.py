"""A report that cannot be written hides nothing of what the run came to."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_samples import finished_run

from slimworks.pipeline.reporting import try_run_report


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 10,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_for_the_report_is_one_line(
    tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = finished_run(tmp_path / "run")
    request.getfixturevalue("full_disk")

    assert not try_run_report(tmp_path / "report.html", inputs)

    (record,) = caplog.records
    assert record.getMessage().startswith("the report could not be written: [Errno 27] File too")
    assert record.exc_info is None
    assert not (tmp_path / "report.html").exists()
