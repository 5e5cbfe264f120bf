"""What a training was made from and what came out: enough to make it again and to compare.

manifest.json lies beside the model. Everything in it that names an input has a digest, so that
`slimworks verify` can say which input changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

import slimworks
from slimworks.components import contracts, files, processor
from slimworks.components.checkpoints.digests import digest_of_checkpoint
from slimworks.components.settings import Settings
from slimworks.components.trainer.config import ModelConfig

# The folders below components/ whose code decides what a training computes; besides them, the
# modules that everyone shares.
_CODE_FOLDERS = (
    "calibration", "checkpoints", "export", "labels", "nets", "preprocessing", "trainer",
    "transform",
)  # fmt: skip
_COMPONENTS = Path(slimworks.components.__file__ or "").resolve().parent
_GIT_SECONDS = 10.0


def training_manifest(
    settings: Mapping[str, Settings],
    stored_examples: str,
    label_map: contracts.LabelMap,
    checkpoint: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What goes into a training, with digests. Call it in the process that trains.

    Args:
        settings: The sections `model`, `train` and `export`.
        stored_examples: Folder of the transformed examples.
        label_map: Classes by index.
        checkpoint: `checkpoint_facts` of what it started from, or None.

    Returns:
        Content of manifest.json, without what `result_facts` adds.
    """
    return {
        "format": contracts.MANIFEST_FORMAT,
        "settings": {name: value.model_dump(mode="json") for name, value in settings.items()},
        "seeds": {"train.seed": settings["train"].model_dump()["seed"]},
        "data": {
            "stored_examples": os.path.abspath(stored_examples),
            "stored_examples_digest": files.sha256_of_tree(stored_examples),
            contracts.LABEL_MAP_VERSION: label_map.version,
            contracts.LABEL_MAP_DIGEST: label_map.digest,
        },
        "checkpoint": checkpoint,
        "net": net_facts(settings["model"]),
        "code": code_facts(),
        "packages": installed_packages(),
        "machine": machine_facts(),
        "tensorflow": tensorflow_facts(),
    }


def result_facts(model: str | os.PathLike[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What came out, and how exactly it will come out again.

    Args:
        model: Folder of the model; its checkpoint is there.
        facts: Content of model.json.

    Returns:
        "determinism" and "result" of manifest.json.
    """
    keys = ("net", "num_steps", "best_step", "best_eval_accuracy", "num_train_images")
    digest = digest_of_checkpoint(Path(model) / contracts.CHECKPOINTS_FOLDER)
    return {
        "determinism": facts.get("determinism"),
        "result": {
            "weights_digest": digest,
            **{key: facts[key] for key in keys if key in facts},
        },
    }


def checkpoint_facts(checkpoint_path: str | None) -> dict[str, Any] | None:
    """Path and digest of the weights that a training starts from."""
    if checkpoint_path is None:
        return None
    path = checkpoint_path if "://" in checkpoint_path else os.path.abspath(checkpoint_path)
    return {"path": path, "weights_digest": digest_of_checkpoint(checkpoint_path)}


def net_facts(model: Settings) -> dict[str, Any] | None:
    """Name and digest of the source of a user's own network; None for those of the registry."""
    assert isinstance(model, ModelConfig)
    digest = model.source_digest
    return {"name": model.net, "source_digest": digest} if digest else None


def code_facts() -> dict[str, Any]:
    """Version of SlimWorks, digest of the code that trains, and the commit where there is one."""
    digest = hashlib.sha256()
    paths = [*_COMPONENTS.glob("*.py")]
    for folder in _CODE_FOLDERS:
        paths += (_COMPONENTS / folder).rglob("*.py")
    for path in sorted(paths):
        digest.update(path.relative_to(_COMPONENTS).as_posix().encode("utf-8"))
        digest.update(bytes.fromhex(files.sha256_of_file(path)))
    return {"version": slimworks.__version__, "digest": digest.hexdigest(), "git": _git_facts()}


def _git_facts() -> dict[str, Any] | None:
    """Commit of the working copy that SlimWorks runs from; None where it was installed."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or no working copy: the digest of the code says enough
    return {"commit": commit, "is_changed": bool(changed)}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_COMPONENTS), *arguments]
    result = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_GIT_SECONDS
    )
    return result.stdout.strip()


def installed_packages() -> dict[str, Any]:
    """Every installed distribution with its version (what a lock file lists), and their digest."""
    found = {
        str(package.metadata["Name"]).lower().replace("_", "-"): package.version
        for package in importlib.metadata.distributions()
        if package.metadata["Name"]
    }
    found.pop("slimworks", None)  # its code has a digest of its own
    versions = dict(sorted(found.items()))
    text = "\n".join(f"{name}=={version}" for name, version in versions.items())
    return {"digest": hashlib.sha256(text.encode("utf-8")).hexdigest(), "versions": versions}


def machine_facts() -> dict[str, Any]:
    """What of the machine decides which kernels run, and in how many pieces."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": processor.cpu_model(),
        "cpu_flags": sorted(processor.cpu_flags()),
        "num_cores": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
    }


def tensorflow_facts() -> dict[str, Any]:
    """TensorFlow's settings that change what it computes; 0 threads: as many as cores."""
    return {
        "version": tf.__version__,
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "optimizer_options": dict(tf.config.optimizer.get_experimental_options()),
    }
