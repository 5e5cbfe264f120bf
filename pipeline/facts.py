"""What a run left behind, found through ML Metadata: artifact folders and their JSON files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from slimworks.components import contracts, formats
from slimworks.pipeline.paths import PipelinePaths


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """Output folders of a run by (node, channel)."""

    paths: PipelinePaths
    run_id: str
    folders: dict[tuple[str, str], Path]

    @classmethod
    def collect(cls, paths: PipelinePaths, run_id: str, connection: Any = None) -> RunFacts:
        """Asks ML Metadata for the outputs of a run's executions.

        Args:
            paths: Folders of the pipeline.
            run_id: The run.
            connection: ML Metadata; None: the SQLite file of the run root.
        """
        from slimworks.pipeline import metadata

        folders: dict[tuple[str, str], Path] = {}
        with connection or metadata.SqliteMetadata(paths.metadata) as handle:
            store = handle.store
            for execution in metadata.executions_of_run(store, run_id):
                if execution.last_known_state not in (metadata.COMPLETE, metadata.CACHED):
                    continue
                node = _node_of(store, execution.id, paths.name)
                outputs = metadata.artifacts_of_execution(store, execution.id, outputs=True)
                for channel, artifacts in outputs.items():
                    folders[node, channel] = Path(artifacts[-1].uri)
        return cls(paths, run_id, folders)

    def folder(self, node: str, channel: str) -> Path | None:
        """Folder of an output, or None where the node did not get that far."""
        return self.folders.get((node, channel))

    def label_map_version(self) -> int | None:
        """Version of the label map that the ingest wrote."""
        if (label_map := self._json("ingest", "label_map", contracts.LABEL_MAP_FILE)) is None:
            return None
        return contracts.LabelMap.from_json(label_map).version

    def decision(self) -> dict[str, Any] | None:
        """The gate's decision.json."""
        return self._json("gate", "blessing", contracts.DECISION_FILE)

    def data(self) -> dict[str, Any] | None:
        """The ingest's summary.json with the validation's drift.json, where the run got there."""
        summary = self._json("ingest", "report", contracts.SUMMARY_FILE)
        return summary and {**summary, "drift": self.drift()}

    def drift(self) -> dict[str, Any] | None:
        """The validation's drift.json."""
        return self._json("validation", "anomalies", contracts.DRIFT_FILE)

    def nothing_to_do(self) -> list[str]:
        """Why this run trained nothing although nothing was wrong; empty where it did train."""
        drift = self.drift()
        return [] if drift is None or drift["retrain"] else list(drift["reasons"])

    def pushed(self) -> dict[str, Any] | None:
        """The pusher's pushed.json."""
        return self._json("pusher", "pushed_model", contracts.PUSHED_FILE)

    def replay(self) -> dict[str, Any] | None:
        """The replay's replay.json."""
        return self._json("replay", "replay", contracts.REPLAY_FILE)

    def metrics(self) -> dict[str, Any] | None:
        """The evaluator's metrics.json."""
        return self._json("evaluator", "evaluation", contracts.EVALUATION_METRICS_FILE)

    def headline_metrics(self) -> dict[str, Any]:
        """The few numbers that a run is known by; empty before the evaluation."""
        metrics = self.metrics()
        if metrics is None:
            return {}
        keys = ("num_images", "accuracy", "accuracy_interval", "confidence", "macro_f1", "log_loss")
        return {key: metrics[key] for key in keys if key in metrics}

    def _json(self, node: str, channel: str, name: str) -> dict[str, Any] | None:
        folder = self.folder(node, channel)
        if folder is None or not (folder / name).is_file():
            return None
        value: dict[str, Any] = formats.read(folder / name)
        return value


def _node_of(store: Any, execution_id: int, pipeline_name: str) -> str:
    for context in store.get_contexts_by_execution(execution_id):
        if context.name.startswith(f"{pipeline_name}."):
            return str(context.name[len(pipeline_name) + 1 :])
    return "?"
