"""What the steps see of this machine: their settings, folders, variables and network."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

from slimworks.components.errors import ConfigError
from slimworks.components.ingest.sources.detect import canonical_source
from slimworks.components.ingest.sources.items import is_uri
from slimworks.components.ingest.sources.unpacking import cache_folder
from slimworks.components.settings import Settings
from slimworks.pipeline import dag
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.containers.backend import Surroundings
from slimworks.pipeline.containers.engine import UNPRIVILEGED_UID, Mount
from slimworks.pipeline.kubeflow.config import StepConfig
from slimworks.pipeline.kubeflow.finishing import COMMAND_VARIABLE
from slimworks.pipeline.kubeflow.outputs import REPORT
from slimworks.pipeline.paths import PipelinePaths

_Settings = TypeVar("_Settings", bound=Settings)

# Settings that name files or folders of this machine.
_READ = (
    "data.image_root", "data.labels_file", "data.corrections", "retrain.request_log",
    "train.checkpoint_path", "gate.require_shadow.log",
)  # fmt: skip
_BASE_PATH = "push.base_path"
_WRITTEN = (_BASE_PATH, "tracking.tensorboard_dir")
_FOR_OTHERS = stat.S_IROTH | stat.S_IXOTH


def as_seen_in_containers(
    config: PipelineConfig, paths: PipelinePaths, uncached: Iterable[str]
) -> PipelineConfig:
    """The configuration to compile: absolute paths, the run root as workspace.

    Args:
        config: As it was given.
        paths: Folders of the pipeline.
        uncached: Steps that take no earlier run's result.
    """
    source = canonical_source(str(config.data.source), config.data)
    update = {"source": source}
    if _is_unpacked_or_fetched(config):
        update["download_dir"] = cache_folder(config.data.download_dir)
    config = config.model_copy(
        update={"name": paths.name, "data": config.data.model_copy(update=update)}
    )
    for key in (*_READ, *_WRITTEN):
        config = _with_absolute(config, key.split("."), is_resolved=key == _BASE_PATH)
    steps = dict(config.kubeflow.steps)
    for step in uncached:
        steps[step] = steps.get(step, StepConfig()).model_copy(update={"cache": False})
    workspace = {"workspace": str(paths.root), "plain": False, "steps": steps}
    return config.model_copy(update={"kubeflow": config.kubeflow.model_copy(update=workspace)})


def _with_absolute(settings: _Settings, key: Sequence[str], is_resolved: bool) -> _Settings:
    """The same with an absolute path; resolved where the local runner does: one cache for both."""
    name, *below = key
    value = getattr(settings, name)
    if value is None:
        return settings
    if below:
        value = _with_absolute(value, below, is_resolved)
    elif not is_uri(value):
        value = os.path.abspath(os.path.expanduser(value))
        value = str(Path(value).resolve()) if is_resolved else value
    return settings.model_copy(update={name: value})


def _values(config: PipelineConfig, keys: Iterable[str]) -> Iterator[str]:
    """Paths that are set."""
    for key in keys:
        value: Any = config
        for name in key.split("."):
            value = getattr(value, name, None)
        if value and not is_uri(value):
            yield value


def _is_unpacked_or_fetched(config: PipelineConfig) -> bool:
    """Whether ingest writes into the cache of archives and classic sets."""
    source = canonical_source(str(config.data.source), config.data)
    return not is_uri(source) and not os.path.isdir(source)


def written_folders(config: PipelineConfig, paths: PipelinePaths) -> list[Path]:
    """Folders of this machine that the steps write to, made where they are missing."""
    folders = [paths.home, *map(Path, _values(config, _WRITTEN))]
    if _is_unpacked_or_fetched(config) and config.data.download_dir:
        folders.append(Path(config.data.download_dir))
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return folders


def _read_folders(config: PipelineConfig) -> list[Path]:
    """Folders of this machine that the steps read.

    Raises:
        ConfigError: The containers' user may not read one.
    """
    paths = [str(config.data.source), *config.containers.mounts]
    found: list[Path] = []
    for text in (*paths, *_values(config, _READ)):
        path = Path(os.path.expanduser(text))
        if is_uri(text) or not path.is_absolute():
            continue  # a classic set has a name only
        # A manifest's photos and the files of a checkpoint lie beside it.
        folder = path if path.is_dir() else path.parent
        if folder.is_dir() and folder not in found:
            _require_readable(folder)
            found.append(folder)
    return found


def _require_readable(folder: Path) -> None:
    mode = folder.stat().st_mode
    if os.geteuid() == 0 and mode & _FOR_OTHERS != _FOR_OTHERS:
        raise ConfigError(
            f"{folder} is for root only, and the containers run as user {UNPRIVILEGED_UID}.",
            f"Let others read it (chmod -R o+rX {shlex.quote(str(folder))}), or run as another "
            "user than root.",
        )


def surroundings(
    config: PipelineConfig,
    paths: PipelinePaths,
    key: str,
    image_id: str,
    logs: Path,
    command: str,
) -> Surroundings:
    """What the containers of a run share.

    Args:
        config: As `as_seen_in_containers` returns it.
        paths: Folders of the pipeline.
        key: By which leftovers of killed runs are found.
        image_id: The image.
        logs: Where the steps' output goes.
        command: What was typed.
    """
    written = [folder for folder in written_folders(config, paths) if folder != paths.home]
    return Surroundings(
        pipeline=key,
        image_id=image_id,
        logs=logs,
        mounts=[
            *(Mount(str(folder), str(folder)) for folder in _read_folders(config)),
            *(Mount(str(folder), str(folder), True) for folder in written),
        ],
        secret_folders=config.containers.secret_folders,
        inherited=config.containers.env,
        variables={COMMAND_VARIABLE: command},
        online=frozenset(online_steps(config)),
        network=config.containers.network,
    )


def online_steps(config: PipelineConfig) -> Set[str]:
    """Steps that need a network: a database, a remote source, a server to tell."""
    if config.kubeflow.metadata.kind != "sqlite":
        return {*dag.NODES, REPORT}
    steps = set(config.containers.network_steps)
    source = str(config.data.source)
    if not os.path.isabs(source) or config.data.beam_pipeline_args:
        steps.add("ingest")
    if config.push.server or is_uri(config.push.base_path or ""):
        steps.add("pusher")
    if config.tracking.mlflow_uri:
        steps.add(REPORT)
    return steps
