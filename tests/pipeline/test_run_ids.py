"""Runs are sorted as they were begun, whatever the clock says."""

from __future__ import annotations

import datetime
from pathlib import Path

from slimworks.pipeline.paths import new_run_id


def test_the_newest_run_has_the_greatest_id_where_the_clock_was_put_back(tmp_path: Path) -> None:
    ahead = "20991231-235959-ffff"
    for name in (ahead, "notes.txt", "20261121-053000-3f2a"):
        (tmp_path / name).mkdir()

    first = new_run_id(tmp_path)
    (tmp_path / first).mkdir()
    second = new_run_id(tmp_path)

    assert first.startswith("21000101-000000-")
    assert second.startswith("21000101-000001-")


def test_a_run_is_named_by_the_time_in_utc(tmp_path: Path) -> None:
    before = datetime.datetime.now(datetime.timezone.utc)

    run_id = new_run_id(tmp_path)

    assert f"{before:%Y%m%d-%H%M%S}" <= run_id[:15]
    assert len(run_id) == len("20261121-053000-3f2a")
