"""Where a pipeline keeps its things below the run root."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import slimworks
from slimworks.components import files
from slimworks.components.errors import ConfigError

ROOT_FORMAT = 1
_RUN_TIME = "%Y%m%d-%H%M%S"


@dataclasses.dataclass(frozen=True)
class PipelinePaths:
    """Folder of one pipeline: `<root>/<name>/`."""

    root: Path
    name: str

    @property
    def home(self) -> Path:
        """Everything of this pipeline."""
        return self.root / self.name

    @property
    def metadata(self) -> Path:
        """ML Metadata in SQLite: executions, artifacts, lineage, cache."""
        return self.home / "metadata.sqlite"

    @property
    def artifacts(self) -> Path:
        """TFX's pipeline root: `<node>/<output>/<execution id>/`."""
        return self.home / "artifacts"

    @property
    def work(self) -> Path:
        """Unfinished work that a later run goes on with (training checkpoints)."""
        return self.home / "work"

    @property
    def state(self) -> Path:
        """What ingest remembers: catalogue of files and images, shards, label map."""
        return self.home / "state"

    @property
    def serving(self) -> Path:
        """Default of push.base_path: what a model server serves."""
        return self.home / "serving"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.home / "runs"

    def run(self, run_id: str) -> Path:
        """Folder of one run: config.yaml, run.json, report.html, logs/."""
        return self.runs / run_id

    def create(self, source: str, is_name_chosen: bool) -> None:
        """Creates the folder, or checks that this SlimWorks can read what is there.

        Args:
            source: Resolved data source: kept, so that two folders of one name are not mixed.
            is_name_chosen: The user gave the name, and may give it another source.

        Raises:
            ConfigError: Not writable, written by a newer SlimWorks, or of other data.
        """
        marker = self.home / "slimworks.json"
        if marker.exists():
            self.check_format()
            known = files.read_json(marker).get("source", source)
            if known != source and not is_name_chosen:
                raise ConfigError(
                    f"The pipeline {self.name!r} below {self.root} is that of {known}, "
                    f"not of {source}.",
                    f"Name this one: --set name={self.name}-2, or confirm that the data moved: "
                    f"--set name={self.name}",
                )
        try:
            for folder in (self.home, self.artifacts, self.work, self.runs):
                folder.mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                files.write_json(
                    marker,
                    {"format": ROOT_FORMAT, "slimworks": slimworks.__version__, "source": source},
                )
            probe = self.home / f".write-probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"The run root {self.home} cannot be written: {error.strerror}.",
                "Give a folder that you may write to: --root DIR.",
            ) from None

    def check_format(self) -> None:
        """Raises ConfigError where a newer SlimWorks wrote the folder."""
        marker = self.home / "slimworks.json"
        try:
            found = files.read_json(marker)
            is_newer = found["format"] > ROOT_FORMAT
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{marker} is damaged: {error!r:.200}.",
                'Restore it from a backup, or write {"format": 1} into it.',
            ) from error
        if is_newer:
            raise ConfigError(
                f"{self.home} was written by SlimWorks {found.get('slimworks', '?')} "
                f"(run root format {found['format']}); this SlimWorks "
                f"{slimworks.__version__} reads format {ROOT_FORMAT}.",
                "Upgrade SlimWorks, or use another --root.",
            )


def new_run_id(runs: Path) -> str:
    """Unique on one machine, and sorted as the runs were begun: `20261121-053000-3f2a`.

    The time is in UTC. Where the clock was put back since the last run, it is that run's and a
    second: the newest run is the one with the greatest id.

    Args:
        runs: Folder of the earlier runs.
    """
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0, tzinfo=None)
    newest = max((_begun(path.name) for path in runs.iterdir()), default=datetime.datetime.min)
    if newest >= now:
        now = newest + datetime.timedelta(seconds=1)
    return f"{now:{_RUN_TIME}}-{secrets.token_hex(2)}"


def _begun(run_id: str) -> datetime.datetime:
    try:
        return datetime.datetime.strptime(run_id.rpartition("-")[0], _RUN_TIME)
    except ValueError:  # somebody else's file
        return datetime.datetime.min


@contextlib.contextmanager
def exclusive(paths: PipelinePaths) -> Iterator[None]:
    """Holds the pipeline's lock, so that two runs never write the same folder.

    The kernel drops the lock with the process: a killed run leaves none behind.

    Raises:
        ConfigError: Another run holds it.
    """
    with open(paths.home / ".lock", "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise ConfigError(
                f"Another run (process {stream.read().strip() or '?'}) is using {paths.home}.",
                "Wait for it, or use another --root.",
            ) from None
        stream.seek(0)
        stream.truncate()
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def is_locked(paths: PipelinePaths) -> bool:
    """Whether a run is using the pipeline now."""
    with open(paths.home / ".lock", "a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def pipelines_below(root: Path) -> list[PipelinePaths]:
    """Pipelines that have a folder below `root`, by name."""
    if not root.is_dir():
        return []
    return [
        PipelinePaths(root, entry.name)
        for entry in sorted(root.iterdir())
        if (entry / "slimworks.json").is_file()
    ]
