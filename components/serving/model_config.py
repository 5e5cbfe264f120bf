"""Which models a server is told to serve: flags, a ModelServerConfig file or message."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from slimworks.components.errors import ConfigError
from slimworks.components.serving.request_errors import Code, RequestError
from slimworks.components.serving.request_log import LogSettings
from slimworks.components.serving.versions import Policy, every, latest, specific

_PLATFORM = "tensorflow"
_LOG_COLLECTOR = "tfrecord"  # ours: TensorFlow Serving's own binary has none

_Message = TypeVar("_Message", bound=Message)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: Name that clients ask for.
        base_path: Folder with one folder per version.
        policy: Picks the versions to serve.
        labels: Version by label.
        logging: Where its requests are logged; None: as the server's flags say.
    """

    name: str
    base_path: str
    policy: Policy = latest
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    logging: LogSettings | None = None


def read_text_proto(path: str, message: _Message, flag: str, full_name: str) -> _Message:
    """Fills a message from a text-format file.

    Raises:
        ConfigError: The file cannot be read or does not parse.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} (--{flag}) cannot be read: {error.strerror}.",
            "Check the path and its permissions.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} (--{flag}) is not UTF-8 text.", "Save it as UTF-8, in protobuf's text format."
        ) from error
    try:
        text_format.Parse(text, message)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"Error parsing text-format {full_name}: {error} (--{flag}={path})",
            "Correct the file at that line; docs/serving.md shows one.",
        ) from error
    return message


def read_model_config(path: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads a file of --model_config_file.

    Raises:
        ConfigError: The file cannot be read or does not parse.
    """
    return read_text_proto(
        path,
        model_server_config_pb2.ModelServerConfig(),
        "model_config_file",
        "tensorflow.serving.ModelServerConfig",
    )


def model_configs(config: model_server_config_pb2.ModelServerConfig) -> list[ModelConfig]:
    """The models of a config, checked as TensorFlow Serving checks them.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise _invalid("Only model_config_list is supported; got another kind of config.")
    found: dict[str, ModelConfig] = {}
    for entry in config.model_config_list.config:
        if entry.name in found:
            raise _invalid(f"Illegal to list model {entry.name} multiple times in config list")
        _check(entry)
        found[entry.name] = ModelConfig(
            entry.name,
            entry.base_path,
            _policy(entry.model_version_policy),
            dict(entry.version_labels),
            _logging(entry),
        )
    return list(found.values())


def _check(entry: Any) -> None:
    if not entry.name:
        raise _invalid("A model of the config has no name.")
    if not os.path.isabs(entry.base_path):
        raise _invalid(
            f"Expected model {entry.name} to have an absolute path or URI; got "
            f"base_path()={entry.base_path}"
        )
    if entry.model_platform not in ("", _PLATFORM):
        raise _invalid(
            f"Illegal setting of model platform {entry.model_platform!r} for model {entry.name}: "
            f"only {_PLATFORM!r} is served."
        )
    if not entry.model_platform and entry.model_type != model_server_config_pb2.TENSORFLOW:
        raise _invalid(f"Illegal setting neither ModelServerConfig::model_type nor model_platform "
                       f"for model {entry.name}.")  # fmt: skip


def _policy(policy: Any) -> Policy:
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return every
    if kind == "specific":
        return functools.partial(specific, numbers=frozenset(policy.specific.versions))
    return functools.partial(latest, num_versions=policy.latest.num_versions or 1)


def _logging(entry: Any) -> LogSettings | None:
    if not entry.HasField("logging_config"):
        return None
    collector = entry.logging_config.log_collector_config
    rate = entry.logging_config.sampling_config.sampling_rate
    if collector.type not in ("", _LOG_COLLECTOR):
        raise _invalid(f"Cannot find LogCollector::Factory for type: {collector.type}")
    if not os.path.isabs(collector.filename_prefix):
        raise _invalid(
            f"Expected logging_config of model {entry.name} to have an absolute filename_prefix; "
            f"got {collector.filename_prefix!r}"
        )
    if not 0 <= rate <= 1:  # NaN, too, is none
        raise _invalid(f"sampling_rate of model {entry.name} is {rate:g}, expected 0 to 1")
    return LogSettings(collector.filename_prefix, rate)


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)
