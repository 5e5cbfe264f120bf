"""The configuration: typed sections, `--set`, and errors that name the nearest key."""

from __future__ import annotations

import hashlib
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import Field

from slimworks.components.errors import ConfigError, nearest
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.gate.config import GateConfig
from slimworks.components.ingest.config import DataConfig
from slimworks.components.pusher.config import PushConfig
from slimworks.components.serving.config import ServingConfig
from slimworks.components.settings import Settings
from slimworks.components.trainer.config import ModelConfig, TrainConfig
from slimworks.components.transform.config import TransformConfig


class KubeflowConfig(Settings):
    """How the pipeline runs on Kubeflow."""

    image: str = Field(
        "localhost/slimworks-pipeline:latest", description="Container image of every node."
    )
    workspace: str = Field(
        "/workspace", description="Folder where the shared volume is mounted in each container."
    )
    volume_claim: str = Field("slimworks", description="PersistentVolumeClaim of the workspace.")


_FILE_SUFFIX = re.compile(
    r"\.(zip|tar|tgz|tar\.(gz|bz2|xz)|csv|tsv|jsonl|parquet|tfrecords?)$", re.IGNORECASE
)


class PipelineConfig(Settings):
    """Everything a run depends on."""

    name: str = Field("", description="Pipeline name; empty: made from the data folder's name.")
    data: DataConfig = Field(default_factory=DataConfig)
    transform: TransformConfig = Field(default_factory=TransformConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    push: PushConfig = Field(default_factory=PushConfig)
    serving: ServingConfig = Field(default_factory=ServingConfig)
    kubeflow: KubeflowConfig = Field(default_factory=KubeflowConfig)

    @pydantic.field_validator("name")
    @classmethod
    def _safe_name(cls, name: str) -> str:
        if name and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
            raise ValueError(
                f"name is {name!r}, expected up to 63 lower-case letters, digits, '-' and '_', "
                "starting with a letter or digit."
            )
        return name


def pipeline_name(source: str) -> str:
    """Returns a pipeline name for a data source: `Fotos Köln/` -> `fotos-koln`.

    Suffixes of archives and manifests are left out: `flower_photos.tgz` -> `flower_photos`.

    A name without a Latin letter gives `photos-` and a digest.
    """
    last = source.rstrip("/").rpartition("/")[2] if "://" in source else Path(source).resolve().name
    text = unicodedata.normalize("NFKD", _FILE_SUFFIX.sub("", last))
    ascii_text = text.encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9_]+", "-", ascii_text).strip("-_")[:63]
    return slug or "photos-" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]


def load_config(
    path: str | None = None, overrides: Sequence[str] = (), data: str | None = None
) -> PipelineConfig:
    """Reads a YAML file, applies `key=value` overrides (they win) and checks everything.

    Args:
        path: YAML file; None: defaults only.
        overrides: `section.key=value`, the value in YAML.
        data: Source of the images; wins over `data.source`.

    Raises:
        ConfigError: Unreadable file, unknown key, wrong value, or no data source.
    """
    values = _read_yaml(path) if path else {}
    for override in overrides:
        _apply_override(values, override)
    if data is not None:
        _section(values, "data")["source"] = data
    return parse_config(values)


def parse_config(values: Mapping[str, Any]) -> PipelineConfig:
    """Checks a nested mapping. Raises ConfigError naming the first wrong key."""
    try:
        return PipelineConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise _config_error(error) from None


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.",
            "Give an existing file to --config, or write one: slimworks init --data PHOTOS.",
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {problem}.", "Mend that line.") from None
    if not isinstance(values, dict | None):
        raise ConfigError(
            f"{path} holds a {type(values).__name__}, expected sections like `data:`.",
            "Start from `slimworks init --data PHOTOS`.",
        )
    # An empty section (`train:` with every line commented out) is null in YAML.
    return {key: {} if value is None else value for key, value in (values or {}).items()}


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    section = values.setdefault(name, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{name} is {section!r}, expected a section.", f"Write `{name}:`.")
    return section


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if separator and not all(part.strip() for part in key.split(".")):
        raise ConfigError(
            f"--set {override!r} names no key.", "Write it like --set train.batch_size=16."
        )
    if not separator:
        raise ConfigError(
            f"--set {override!r} has no '='.", "Write it like --set train.batch_size=16."
        )
    *sections, leaf = key.strip().split(".")
    for name in sections:
        values = _section(values, name)
    try:
        values[leaf] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set {override!r}: the value is not valid YAML.", f"Quote it: {_quoted(key, text)}"
        ) from None


def _quoted(key: str, text: str) -> str:
    """What to type so that YAML takes the text as it is: its double quotes eat backslashes."""
    argument = f"{key}='" + text.replace("'", "''") + "'"
    is_plain = not re.search(r'["$`!]|\\\\', argument)  # to a shell, in double quotes
    return "--set " + (f'"{argument}"' if is_plain else shlex.quote(argument))


def _config_error(error: pydantic.ValidationError) -> ConfigError:
    first = error.errors()[0]
    location = [
        str(part) for part in first["loc"] if not str(part).startswith(("literal", "list["))
    ]
    key = ".".join(location)
    if isinstance(original := first.get("ctx", {}).get("error"), ConfigError):
        return original
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        where = f"section {'.'.join(location[:-1])!r}" if location[:-1] else "the configuration"
        return ConfigError(
            f"Unknown key {key!r}.{nearest(location[-1], known, prefix=key[: -len(location[-1])])}",
            f"Keys of {where}: {', '.join(known)}.",
        )
    if first["type"] == "value_error":
        return ConfigError(
            str(first["ctx"]["error"]), f"Change {key or 'it'} in the config or by --set."
        )
    fix = f"Change it in the config or by --set {key}=VALUE."
    if first["type"] == "string_type" and not isinstance(first["loc"][-1], int):
        fix = f"Quote it, in the config or by {_quoted(key, 'VALUE')}"
    return ConfigError(
        f"{key} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.", fix
    )


def _known_keys(location: Sequence[str]) -> list[str]:
    model: Any = PipelineConfig
    for part in location:
        model = model.model_fields[part].annotation
    return sorted(model.model_fields)


def to_yaml(config: PipelineConfig) -> str:
    """Returns the resolved configuration as YAML that `--config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
