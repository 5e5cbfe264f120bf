"""Whole ingests for the tests of engines: a source with files of every kind, and the outcome."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import engine_tasks
import psutil
import pytest
from near_copies import encoded, scene
from photo_folders import outputs_in, photo_bytes, run_ingest
from PIL import Image

from slimworks.components import contracts
from slimworks.components.ingest import checking, sharding
from slimworks.components.ingest.engine import passes
from slimworks.components.ingest.ingest import IngestSummary

NUM_IMAGES = 167
SECONDS = 120.0
# Fewer files a task, so that 170 files are more tasks than run without Beam.
FILES_PER_TASK = 4
UNTIL_KILLED = f"""
import sys
from pathlib import Path
import engine_tasks
from engine_ingests import ingest_every_kind
from slimworks.components.ingest import checking
checking.check_task = engine_tasks.check_some
checking.FILES_PER_TASK = {FILES_PER_TASK}
ingest_every_kind(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
"""

Reference = tuple[Path, dict[str, bytes]]


def write_every_kind(source: Path) -> Path:
    """Writes 160 photos, a near and an exact duplicate, converted files, a conflict, bad files."""
    for number, name in enumerate(("cats", "dogs")):
        (source / name).mkdir(parents=True)
        for index in range(80):
            (source / name / f"{index:03d}.png").write_bytes(photo_bytes(1_000 * number + index))
    cats, dogs = source / "cats", source / "dogs"
    (cats / "again.png").write_bytes((cats / "007.png").read_bytes())
    (cats / "scene.png").write_bytes(encoded(scene(1), "PNG"))
    (cats / "scene.jpg").write_bytes(encoded(scene(1), quality=85))
    (cats / "alpha.png").write_bytes(encoded(scene(2).convert("RGBA"), "PNG"))
    (cats / "scan.tif").write_bytes(encoded(scene(4), "TIFF"))
    (cats / "web.webp").write_bytes(encoded(scene(5), "WEBP"))
    (dogs / "cmyk.jpg").write_bytes(encoded(scene(3).convert("CMYK")))
    (dogs / "deep.png").write_bytes(encoded(Image.new("I;16", (20, 20), 40_000), "PNG"))
    (dogs / "short.png").write_bytes((dogs / "000.png").read_bytes()[:200])
    (dogs / "empty.jpg").touch()
    both = photo_bytes(99)
    (cats / "both.png").write_bytes(both)
    (dogs / "both.png").write_bytes(both)
    return source


def ingest_every_kind(source: Path, output: Path, flags: Sequence[str] = ()) -> IngestSummary:
    """Ingests it into more shards than are written without Beam."""
    return run_ingest(source, output, flags, num_shards=8, max_rejected_fraction=0.1)


def outcome(output: Path) -> dict[str, bytes]:
    """Every file that an ingest wrote, by name; the summary without what differs by design."""
    folders = outputs_in(output)
    written = {
        f"{Path(folder).name}/{path.relative_to(folder)}": path.read_bytes()
        for folder in (folders.examples, folders.label_map, folders.report)
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }
    name = f"{Path(folders.report).name}/{contracts.SUMMARY_FILE}"
    summary = json.loads(written[name])
    del summary["seconds"], summary["state_id"]
    written[name] = json.dumps(summary).encode()
    return written


def make_reference(folder: Path) -> Reference:
    """Returns a source and what a plain loop makes of it, without any engine."""
    source = write_every_kind(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "SMALL_JOB_TASKS", 1_000)
        summary = ingest_every_kind(source, folder / "reference")
    assert summary.num_images == NUM_IMAGES
    assert (summary.num_rejected, summary.num_conflicts, summary.num_duplicates) == (4, 1, 1)
    assert summary.num_near_duplicates >= 2
    assert summary.num_converted >= 2
    result = outcome(folder / "reference")
    shutil.rmtree(folder / "reference")
    return source, result


def kill_workers(
    source: Path, output: Path, flags: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingests while a worker dies in the middle of the first pass, and one in the second."""
    monkeypatch.setattr(checking, "check_task", engine_tasks.check_and_die_once)
    monkeypatch.setattr(sharding, "write_shard", engine_tasks.write_and_die_once)
    ingest_every_kind(source, output, flags)
    assert {path.name for path in (output / "state").glob("died-*")} == {
        "died-in-check", "died-in-write",
    }  # fmt: skip


def kill_ingest(source: Path, output: Path, flags: Sequence[str]) -> None:
    """Kills an ingest that has checked a part; what it started must end by itself."""
    ingest = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", UNTIL_KILLED, str(source), str(output), *flags],
        cwd=Path(engine_tasks.__file__).parent,
    )
    process = psutil.Process(ingest.pid)
    end = time.monotonic() + SECONDS
    while len(list(output.glob(f"state/work/{checking.CHECK_FOLDER}/*.done"))) < 5:
        assert ingest.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    started = process.children(recursive=True)
    ingest.kill()
    ingest.wait()
    assert started
    _, alive = psutil.wait_procs(started, timeout=SECONDS)
    assert not alive


def go_on(
    source: Path, output: Path, flags: Sequence[str], caplog: pytest.LogCaptureFixture
) -> int:
    """Ingests after a kill; returns the number of images that were checked now."""
    with caplog.at_level(logging.INFO, logger="slimworks"):
        ingest_every_kind(source, output, flags)
    (checked,) = re.findall(r"(\d+) new or changed images checked", caplog.text)
    return int(checked)
