"""What `import slimworks` offers: `run` a pipeline, `load` what it made.

Everything heavy loads when it is used: TensorFlow with the first prediction, nothing before.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components import formats
from slimworks.components.errors import (
    EXIT_REFUSED,
    ConfigError,
    DataError,
    ServingError,
    SlimWorksError,
    TrainingError,
)
from slimworks.components.python_process import module_command
from slimworks.components.terminal_text import shown

if TYPE_CHECKING:
    from slimworks.pipeline.trained_model import TrainedModel

PathLike = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: ingest, trainer, gate, ...
        state: "ran", "reused", "skipped" or "failed".
        seconds: Wall time.
        cached: An earlier run's result was taken.
        reason: Why it ran or was reused.
    """

    name: str
    state: str
    seconds: float
    cached: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run came to.

    Attributes:
        run_id: Sortable by time.
        name: The pipeline's.
        exit_code: Of the command: 0 pushed or nothing to do, 10 the gate refused.
        verdict: "pass", "fail" or "inconclusive"; None where the gate was not asked.
        reasons: Of the verdict, or why there was nothing to do.
        version: The version that serves the model; None: not pushed.
        pushed_to: Its folder, or where it lies in an object store.
        metrics: Of the test split: accuracy, accuracy_interval, macro_f1, ...; empty before the
            evaluation.
        steps: In order.
        model: Folder of the model; None: none was trained.
        artifacts: Folders of what its steps wrote or reused: examples, report, model, evaluation,
            blessing, ... (docs/python.md).
        folder: Folder of the run: config.yaml, run.json, report.html.
        seconds: Wall time.
    """

    run_id: str
    name: str
    exit_code: int
    verdict: str | None
    reasons: tuple[str, ...]
    version: int | None
    pushed_to: str | None
    metrics: Mapping[str, Any]
    steps: tuple[Step, ...]
    model: Path | None
    artifacts: Mapping[str, Path]
    folder: Path
    seconds: float

    @property
    def accuracy(self) -> float | None:
        """Share of the test images that are classified right; None before the evaluation."""
        return self.metrics.get("accuracy")

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    @classmethod
    def from_record(cls, folder: Path, record: Mapping[str, Any]) -> Run:
        """Reads run.json; of an unfinished run what is there.

        Args:
            folder: Folder of the run.
            record: Content of its run.json.
        """
        names = [field.name for field in dataclasses.fields(Step)]
        return cls(
            run_id=record["run_id"],
            name=record["name"],
            exit_code=record.get("exit_code", 1),
            verdict=record.get("verdict"),
            reasons=tuple(record.get("reasons", ())),
            version=record.get("version"),
            pushed_to=record.get("pushed_to"),
            metrics=record.get("metrics", {}),
            steps=tuple(Step(**{name: step[name] for name in names}) for step in record["steps"]),
            model=None if record.get("model") is None else Path(record["model"]),
            artifacts={name: Path(one) for name, one in record.get("artifacts", {}).items()},
            folder=folder,
            seconds=record.get("seconds", 0.0),
        )


def run(
    data: PathLike | None = None,
    *,
    config: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    root: PathLike = "slimworks-runs",
    until: str | None = None,
    budget: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Run:
    """Runs the whole pipeline, as `slimworks run` does, in a process of its own.

    Ctrl-C ends it cleanly; the same call goes on. A gate that refuses is no error: look at
    `verdict`.

    Args:
        data: Labelled images: class folders, a manifest, TFRecords, an archive, s3://, gs://.
        config: pipeline.yaml; one of `data` and `config` must be given.
        settings: By dotted key, `{"train.epochs": 5}`; they win.
        root: Where runs are kept.
        until: Stop after this step.
        budget: Wall time of the whole run: "10m", "1h30m".
        on_line: Called with each line of progress; by default they go to sys.stderr.

    Raises:
        ConfigError, DataError, TrainingError, ServingError: With `cause` and `fix`.
    """
    arguments = ["run", "--json", "--root", str(root)]
    for option, value in (
        ("--data", data), ("--config", config), ("--until", until), ("--budget", budget),
    ):  # fmt: skip
        if value is not None:
            arguments += [option, str(value)]
    for key, value in (settings or {}).items():
        arguments += ["--set", f"{key}={json.dumps(_plain(value), ensure_ascii=False)}"]
    code, answer = _command(arguments, on_line or _print_line)
    error = answer.get("error")
    if code not in (0, EXIT_REFUSED) or error:
        raise _raised(error or {}, code)
    return Run.from_record(Path(answer["report"]).parent, answer)


def load(
    source: Run | PathLike, *, version: int | None = None, root: PathLike = "slimworks-runs"
) -> TrainedModel:
    """Finds a trained model; TensorFlow loads it with the first prediction.

    Args:
        source: What `run` returned, a run's id or folder, a folder that `slimworks train` wrote, a
            SavedModel, or the folder that a model server watches.
        version: Of the folder that a model server watches; None: the newest.
        root: Where runs are kept, for a run's id.

    Raises:
        ConfigError: There is no such run or version, or it has no model.
    """
    from slimworks.pipeline.trained_model import find_model

    if not isinstance(source, Run):
        source = _run_of(source, root) or source
    return find_model(source, version)


def _run_of(source: PathLike, root: PathLike) -> Run | None:
    """The run that an id or a folder names; None for any other folder."""
    path = Path(source)
    if (path / "run.json").is_file():
        return Run.from_record(path, formats.read(path / "run.json"))
    if path.exists():
        return None
    from slimworks.pipeline.verbs.runs import find_run

    return Run.from_record(*find_run(str(root), str(source)))


def _command(
    arguments: Sequence[str], on_line: Callable[[str], None]
) -> tuple[int, dict[str, Any]]:
    """Runs the command line; returns its exit code and its one object on stdout."""
    # Its own process: TensorFlow's threads and the steps' forks stay out of the caller's.
    # Its own session: an interruption reaches it once, from here.
    # A file for stdout: a pipe that nobody reads meanwhile would fill.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stdout:
        process = subprocess.Popen(
            module_command("slimworks", *arguments),
            stdout=stdout, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True,
        )  # fmt: skip
        with process:
            _follow(process, on_line)
        stdout.seek(0)
        output = stdout.read()
    answer: dict[str, Any] = json.loads(output.splitlines()[-1]) if output.strip() else {}
    return process.returncode, answer


def _follow(process: subprocess.Popen[str], on_line: Callable[[str], None]) -> None:
    """Hands on lines of progress until the end; an interruption as well, and waits for it."""
    assert process.stderr is not None
    try:
        for line in process.stderr:
            on_line(line.rstrip("\n"))
    except BaseException:
        process.terminate()  # as Ctrl-C, also where a caller's SIGINT is ignored
        for line in process.stderr:  # it saves, says so, and ends
            on_line(line.rstrip("\n"))
        raise


def _print_line(line: str) -> None:
    print(shown(line), file=sys.stderr, flush=True)  # noqa: T201  # sys.stderr is the notebook's, too


def _raised(error: Mapping[str, Any], code: int) -> SlimWorksError:
    made = {one.exit_code: one for one in (ConfigError, DataError, TrainingError, ServingError)}
    details = error.get("details", "")
    return made.get(int(error.get("exit_code", code)), SlimWorksError)(
        str(error.get("cause", f"slimworks ended with exit code {code}.")),
        str(error.get("fix", "Run it in a terminal: slimworks run --debug.")),
        details if isinstance(details, str) else "\n".join(details),
    )


def _plain(value: Any) -> Any:
    """Paths as text, also within lists and mappings."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
