"""Keeps one small sample of every versioned file of a finished run, for the tests of upgrades.

    python tests/samples/take.py slimworks-runs/tiny

takes a pipeline's folder whose last run pushed a version, and writes tests/samples/<version>/. Run
it once before a release that raises a number, and commit the folder: `tests/test_upgrades.py` reads
every folder that is there. Samples are never changed afterwards.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path

import slimworks

SAMPLES = Path(__file__).parent
PLACE = "/home/user"  # instead of the folder that holds the run root


def _newest(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"{folder} has no {pattern}: give a pipeline that pushed a version.")
    return found[-1]


def _copy_text(source: Path, target: Path, machine: str) -> None:
    """Without the folders of this machine."""
    target.write_text(source.read_text(encoding="utf-8").replace(machine, PLACE), encoding="utf-8")


def _copy_catalogue(source: Path, target: Path, machine: str) -> None:
    """As an ingest leaves it, less the listing, which the next ingest makes anew."""
    shutil.copyfile(source, target)
    connection = sqlite3.connect(target, isolation_level=None)
    connection.execute("DELETE FROM listed")
    connection.execute("UPDATE meta SET value = replace(value, ?, ?)", (machine, PLACE))
    connection.execute("VACUUM")
    connection.close()


def take(home: Path) -> Path:
    """Copies the files; returns their folder."""
    target = SAMPLES / slimworks.__version__
    target.mkdir()
    home = home.absolute()
    machine = str(home.parents[1])
    run = _newest(home, "runs/*/run.json").parent
    state = _newest(home, "serving/*/.slimworks/ledger.jsonl").parent
    artifacts = home / "artifacts"
    for source in (
        home / "slimworks.json",
        *(run / name for name in ("run.json", "config.yaml")),
        state / "ledger.jsonl",
        _newest(artifacts, "ingest/label_map/*/label_map.json"),
        _newest(artifacts, "evaluator/evaluation/*/metrics.json"),
        _newest(artifacts, "gate/blessing/*/decision.json"),
        _newest(artifacts, "replay/replay/*/replay.json"),
        _newest(artifacts, "trainer/model/*/model.json"),
        _newest(artifacts, "trainer/model/*/manifest.json"),
        _newest(artifacts, "pusher/pushed_model/*/pushed.json"),
    ):
        _copy_text(source, target / source.name, machine)
    predictions = _newest(artifacts, "evaluator/evaluation/*/predictions.parquet")
    shutil.copyfile(predictions, target / predictions.name)
    for manifest in state.glob("manifests/*.json"):
        shutil.copyfile(manifest, target / "version_manifest.json")
    if (state / "labels.json").is_file():
        _copy_text(state / "labels.json", target / "labels.json", machine)
    _copy_catalogue(home / "state/catalogue.sqlite", target / "catalogue.sqlite", machine)
    return target


if __name__ == "__main__":
    print(take(Path(sys.argv[1])))
