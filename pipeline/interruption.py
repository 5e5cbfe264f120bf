"""What an interrupted run has saved, and how it goes on."""

from __future__ import annotations

from collections.abc import Sequence

from slimworks.components import files
from slimworks.components.errors import Interrupted
from slimworks.pipeline.launcher import RAN, REUSED, NodeResult
from slimworks.pipeline.paths import PipelinePaths

_STATES = "training-*/state.json"  # of unfinished trainings (trainer/state.py)


def interrupted_run(
    run_id: str, paths: PipelinePaths, results: Sequence[NodeResult], command: str
) -> Interrupted:
    """Finds out what a run has saved.

    Args:
        run_id: The run; its run.json is as it was when the run began.
        paths: Folders of the pipeline.
        results: Of the steps that were over.
        command: How the run was started.
    """
    steps = [result.name for result in results if result.state in (RAN, REUSED)]
    training_step = None if "trainer" in steps else _training_step(run_id, paths)
    saved = [*steps]
    if training_step is not None:
        saved.append(f"the training up to step {training_step}")
    return Interrupted(
        f"Interrupted. Saved: {', '.join(saved)}." if saved else "Interrupted. No step was over.",
        f"Run the same command again: it goes on. {command}",
        {"run_id": run_id, "saved_steps": steps, "training_step": training_step},
    )


def _training_step(run_id: str, paths: PipelinePaths) -> int | None:
    """Step of the checkpoint that this run wrote last; None where it wrote none."""
    began = (paths.run(run_id) / "run.json").stat().st_mtime_ns
    written = {path.stat().st_mtime_ns: path for path in paths.work.glob(_STATES)}
    newest = max(written, default=0)
    return int(files.read_json(written[newest])["step"]) or None if newest > began else None
