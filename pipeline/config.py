"""The configuration: typed sections, `--set`, and errors that name the nearest key."""

from __future__ import annotations

import copy
import hashlib
import re
import shlex
import typing
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import Field

from slimworks.components.addresses import holds_account, without_accounts
from slimworks.components.errors import ConfigError, nearest
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.gate.config import GateConfig
from slimworks.components.ingest.config import DataConfig
from slimworks.components.nets import own_nets
from slimworks.components.pusher.config import PushConfig
from slimworks.components.serving.config import ServingConfig
from slimworks.components.settings import Settings
from slimworks.components.statistics.config import RetrainConfig
from slimworks.components.tracking.config import TrackingConfig
from slimworks.components.trainer.config import ModelConfig, TrainConfig
from slimworks.components.transform.config import TransformConfig
from slimworks.pipeline import yaml_text
from slimworks.pipeline.containers.config import ContainersConfig
from slimworks.pipeline.kubeflow.config import KubeflowConfig

_FILE_SUFFIX = re.compile(
    r"\.(zip|tar|tgz|tar\.(gz|bz2|xz)|csv|tsv|jsonl|parquet|tfrecords?)$", re.IGNORECASE
)
CONFIG_FORMAT = 1  # higher where an older SlimWorks would take a key for something else
_SECRET_FLAG = re.compile(r"--s3_(secret_access_key|session_token)\b")  # Beam's
_SHOWN_CHARACTERS = 200  # of a wrong value


class PipelineConfig(Settings):
    """Everything a run depends on."""

    name: str = Field("", description="Pipeline name; empty: made from the data folder's name.")
    data: DataConfig = Field(default_factory=DataConfig)
    retrain: RetrainConfig = Field(default_factory=RetrainConfig)
    transform: TransformConfig = Field(default_factory=TransformConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    push: PushConfig = Field(default_factory=PushConfig)
    serving: ServingConfig = Field(default_factory=ServingConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    kubeflow: KubeflowConfig = Field(default_factory=KubeflowConfig)
    containers: ContainersConfig = Field(default_factory=ContainersConfig)

    @pydantic.model_validator(mode="after")
    def _retrain_once(self) -> PipelineConfig:
        data = self.data
        self.retrain.with_shorthands(data.retrain_min_new_images, data.retrain_min_drift)
        return self

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
    if path:
        own_nets.look_in(Path(path).parent)
    return parse_config(load_values(_read_yaml(path) if path else {}, overrides, data))


def load_values(
    values: Mapping[str, Any], overrides: Sequence[str], data: str | None
) -> dict[str, Any]:
    """Applies `key=value` overrides and the data source to nested values.

    Raises:
        ConfigError: An override that cannot be read.
    """
    merged = copy.deepcopy(dict(values))
    for override in overrides:
        _apply_override(merged, override)
    if data is not None:
        _section(merged, "data")["source"] = data
    return merged


def parse_config(values: Mapping[str, Any]) -> PipelineConfig:
    """Checks a nested mapping. Raises ConfigError naming the first wrong key."""
    values = dict(values)
    _require_format(values.pop("format", CONFIG_FORMAT))
    try:
        config = PipelineConfig.model_validate(values)
    except pydantic.ValidationError as error:
        found = _config_error(error)
        if holds_account(found.cause):
            _refuse_accounts(values)
        raise found from None
    _refuse_accounts(config.model_dump(mode="json"))
    return config


def _require_format(found: Any) -> None:
    if not isinstance(found, int) or not 1 <= found <= CONFIG_FORMAT:
        raise ConfigError(
            f"The configuration has format {_cut(found)}, this SlimWorks reads up to "
            f"{CONFIG_FORMAT}.",
            "Upgrade SlimWorks: docs/upgrading.md. Or write it anew: slimworks init --data PHOTOS.",
        )


def _refuse_accounts(value: Any, key: str = "") -> None:
    """Every run's folder, report and compiled YAML holds the configuration: no secrets in it."""
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inside in entries:
            _refuse_accounts(inside, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str) and holds_account(value):
        raise ConfigError(  # never shown: what stands before the '@' may be a password
            f"{key} holds an account: there is a 'user:password@' in its address.",
            "Take it out. Credentials come from the environment or the machine's own: "
            "docs/storage.md.",
        )
    elif isinstance(value, str) and (flag := _SECRET_FLAG.match(value)):
        raise ConfigError(
            f"{key} holds a secret: {flag[0]}.",
            "Take it out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) "
            "wherever a worker runs: docs/storage.md.",
        )


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
        values = yaml_text.load(text)
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
        raise ConfigError(f"{name} is {_cut(section)}, expected a section.", f"Write `{name}:`.")
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
        values[leaf] = yaml_text.load(text)
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
        f"{key} is {_cut(first['input'])}: {first['msg'][0].lower()}{first['msg'][1:]}.", fix
    )


def _cut(value: Any) -> str:
    """The value as a message shows it: whole, where it is short."""
    text = without_accounts(repr(value))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _known_keys(location: Sequence[str]) -> list[str]:
    model: Any = PipelineConfig
    for part in location:
        if part in model.model_fields:  # else a place in a list, or a key of a mapping
            model = _settings_in(model.model_fields[part].annotation)
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _settings_in(annotation: Any) -> Any:
    """The section itself, or that of the entries of a list or mapping."""
    entries = [e for e in typing.get_args(annotation) if hasattr(e, "model_fields")]
    return entries[0] if entries else annotation


def to_yaml(config: PipelineConfig) -> str:
    """Returns the resolved configuration as YAML that `--config` reads back."""
    value = {"format": CONFIG_FORMAT, **config.model_dump(mode="json")}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
