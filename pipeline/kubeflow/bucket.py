"""A workspace in a bucket: what a step needs is fetched, what it made is stored.

In ML Metadata an artifact's place is a path below `kubeflow.scratch`, the same in every container,
and each container has files of its own there. The bucket holds them by their names below the
pipeline's folder:

```
<workspace>/<name>/objects/, folders/artifacts/..., folders/state/<number>
<workspace>/<name>/unfinished/         a training that was interrupted
<workspace>/<name>/runs/<id>/          report.html, run.json and so on, as they are
```
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.catalogue import SHARDS_FOLDER
from slimworks.components.storage import folders, remote
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.facts import RunFacts
from slimworks.pipeline.paths import PipelinePaths

_log = logging.getLogger(__name__)

BASELINE = "baseline"  # a resolver: it makes no artifact
_STATE_DIGITS = 8
_EXAMPLES = ("examples",)
# Steps that read original images of the evaluated split only (as_trained reads eval, too).
_EVALUATING = ("evaluator", "replay")
_TRAIN_SPLIT = "Split-train/"
_MODELS, _EVALUATIONS, _PUSHES = (
    "artifacts/trainer/model", "artifacts/evaluator/evaluation", "artifacts/pusher/pushed_model",
)  # fmt: skip


def open_bucket(config: PipelineConfig, paths: PipelinePaths) -> Bucket | None:
    """The bucket of a configuration; None where the workspace is on a volume."""
    if not config.kubeflow.is_in_bucket:
        return None
    remote.configure(config.data.beam_pipeline_args)
    uri = f"{config.kubeflow.workspace}/{paths.name}"
    return Bucket(uri, paths, config.evaluate.split == "train")


class Bucket:
    """A pipeline's folder in a bucket, and what this container has of it.

    Every method raises DataError for objects that are missing or damaged, and what
    `storage.remote` raises for a server that refuses or does not answer.
    """

    def __init__(self, uri: str, paths: PipelinePaths, reads_train_split: bool) -> None:
        """Takes the pipeline's URI, its folders here, and whether `train` is evaluated."""
        self._uri, self._paths = uri, paths
        self._reads_train_split = reads_train_split
        self._stored = folders.FolderStore(uri)
        self._unfinished = folders.FolderStore(f"{uri}/unfinished")
        self._state_number = 0
        self._work: Path | None = None

    # --- Before a step

    def before_launch(self, node: str) -> None:
        """Makes empty folders for artifacts that there are: TFX asks whether they exist.

        Args:
            node: Whose earlier outputs may be reused; `baseline` takes a model of the trainer.
        """
        for name in self._stored.names(_MODELS if node == BASELINE else f"artifacts/{node}"):
            (self._paths.home / name).mkdir(parents=True, exist_ok=True)

    def before_driver(
        self, node: str, inputs: Iterable[str], properties: Mapping[str, Any]
    ) -> None:
        """Fetches what a driver looks at.

        Args:
            node: Its step.
            inputs: Places of the input artifacts.
            properties: Its exec properties.
        """
        if node == "ingest":
            self._fetch_state()
            return
        for place in inputs:
            self._fetch_artifact(place)
        if node == "pusher":
            self._fetch_all(_PUSHES)
        if node == "validation" and _asks_for_learning_curve(properties):
            self._fetch_all(_MODELS, (contracts.MODEL_FACTS_FILE,))
            self._fetch_all(_EVALUATIONS, (contracts.EVALUATION_METRICS_FILE,))

    def before_executor(
        self, node: str, inputs: Mapping[str, Iterable[str]], properties: Mapping[str, Any]
    ) -> None:
        """Fetches what an executor reads.

        Args:
            node: Its step.
            inputs: Places of the input artifacts by channel.
            properties: Its exec properties; one may be the place of an artifact.

        Raises:
            DataError: An artifact is not in the bucket.
        """
        if node == "ingest":
            self._fetch_shards()
        for channel, places in inputs.items():
            for place in places:
                self._fetch_artifact(place, self._wanted(node, channel))
        for value in properties.values():
            if isinstance(value, str) and value.startswith(f"{self._paths.artifacts}/"):
                self._fetch_artifact(value)

    def fetch_unfinished(self, work: Path) -> None:
        """Fetches the training that was interrupted with these inputs and settings."""
        self._work = work
        if self._unfinished.fetch(work.name, work):
            _log.info("going on with the training in %s", work.name)

    # --- After a step

    def keep_unfinished(self) -> None:
        """Stores an interrupted training, for the next try."""
        if self._work is not None and self._work.is_dir():
            self._unfinished.store(self._work, self._work.name)

    def drop_unfinished(self) -> None:
        """Deletes an interrupted training whose result is published."""
        if self._work is not None:
            self._unfinished.remove(self._work.name)

    def after_executor(self, node: str, outputs: Iterable[str]) -> None:
        """Stores the output artifacts, then ingest's state.

        Raises:
            ConfigError: Another run ingested meanwhile.
        """
        for place in outputs:
            self._stored.store(Path(place), self._name(place))
        if node == "ingest":
            self._store_state()

    # --- Runs

    def store_run_file(self, run_id: str, path: Path) -> None:
        """Stores one file of a run under its own name."""
        name = path.relative_to(self._paths.run(run_id)).as_posix()
        remote.write(f"{self._run_uri(run_id)}/{name}", path)

    def drop_run_file(self, run_id: str, path: Path) -> None:
        """Deletes one file of a run."""
        name = path.relative_to(self._paths.run(run_id)).as_posix()
        remote.delete(f"{self._run_uri(run_id)}/{name}")

    def fetch_facts(self, facts: RunFacts, node: str) -> None:
        """Fetches what a step of a run made."""
        for (maker, _), folder in facts.folders.items():
            if maker == node:
                self._fetch_artifact(str(folder))

    def fetch_run(self, facts: RunFacts) -> None:
        """Fetches what the report of a run is made from, and the results of its steps."""
        folders.fetch_files(self._run_uri(facts.run_id), self._paths.run(facts.run_id))
        for (node, channel), folder in facts.folders.items():
            if (node, channel) == ("trainer", "model"):
                self._fetch_artifact(str(folder), lambda name: "/" not in name)
            elif channel != "transformed_examples" and node != BASELINE:
                self._fetch_artifact(str(folder), self._wanted("evaluator", channel))

    def store_run(self, run_id: str) -> None:
        """Stores the folder of a run, run.json last."""
        paths = [path for path in self._paths.run(run_id).rglob("*") if path.is_file()]
        for path in sorted(paths, key=lambda path: path.name == "run.json"):
            self.store_run_file(run_id, path)

    # --- Artifacts

    def _wanted(self, node: str, channel: str) -> Callable[[str], bool]:
        is_all = node not in _EVALUATING or channel not in _EXAMPLES or self._reads_train_split
        return lambda name: is_all or not name.startswith(_TRAIN_SPLIT)

    def _fetch_artifact(
        self, place: str, is_wanted: Callable[[str], bool] = lambda name: True
    ) -> None:
        name = self._name(place)
        if not self._stored.fetch(name, Path(place), is_wanted):
            step = name.split("/")[1]
            raise DataError(
                f"{self._uri} has no whole {name}.",
                f"Make it again: kubeflow.steps.{step}.cache: false.",
            )

    def _fetch_all(self, above: str, wanted: tuple[str, ...] = ()) -> None:
        for name in self._stored.names(above):
            folder = self._paths.home / name
            self._stored.fetch(name, folder, lambda file: not wanted or file in wanted)

    def _name(self, place: str) -> str:
        return Path(place).relative_to(self._paths.home).as_posix()

    def _run_uri(self, run_id: str) -> str:
        return f"{self._uri}/runs/{run_id}"

    # --- State

    def _fetch_state(self) -> None:
        """Fetches what ingest remembers, without the shards: its driver does not read them."""
        numbers = [int(name.rpartition("/")[2]) for name in self._stored.names("state")]
        self._state_number = max(numbers, default=0)
        shutil.rmtree(self._paths.state, ignore_errors=True)  # of an earlier try in this container
        if self._state_number:
            self._stored.fetch(self._state_name(), self._paths.state, lambda n: not _is_shard(n))

    def _fetch_shards(self) -> None:
        if self._state_number:
            self._stored.fetch(self._state_name(), self._paths.state, _is_shard)

    def _store_state(self) -> None:
        self._state_number += 1
        try:
            self._stored.store(self._paths.state, self._state_name(), is_new=True)
        except FileExistsError:
            raise ConfigError(
                f"Another run of {self._paths.name!r} ingested at the same time and was first: "
                f"{self._uri} has its state.",
                "Run again: it goes on from there. Two runs at once need two names.",
            ) from None

    def _state_name(self) -> str:
        return f"state/{self._state_number:0{_STATE_DIGITS}d}"


def _is_shard(name: str) -> bool:
    return name.startswith(f"{SHARDS_FOLDER}/")


def _asks_for_learning_curve(properties: Mapping[str, Any]) -> bool:
    from slimworks.components.statistics.config import DriftConfig

    return DriftConfig.model_validate_json(properties["config"]).retrain.min_gain is not None
