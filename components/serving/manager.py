"""Keeps what is served in step with the configuration and with the folders."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components.serving.model_config import ModelConfig, model_configs
from slimworks.components.serving.models import Models
from slimworks.components.serving.request_errors import Code, RequestError
from slimworks.components.serving.versions import Closable, Versions

_logger = logging.getLogger(__name__)


class Manager:
    """Loads and unloads the versions of all models.

    Args:
        load: Loads the SavedModel at a path, or raises.
        max_num_load_retries: Tries after a first failed load.
        load_retry_interval_seconds: Pause before each of them.
        wait_seconds: Pause between polls while something is awaited.
        allow_labels_of_unavailable: Whether a new label may name a version that is not loaded.
        on_configs: Told of each configuration before it is applied; what it raises refuses it.
    """

    def __init__(
        self,
        load: Callable[[Path], Closable],
        *,
        max_num_load_retries: int = 5,
        load_retry_interval_seconds: float = 60.0,
        wait_seconds: float = 1.0,
        allow_labels_of_unavailable: bool = False,
        on_configs: Callable[[Sequence[ModelConfig]], None] = lambda configs: None,
    ) -> None:
        self.models = Models()
        self._load = load
        self._max_num_load_retries = max_num_load_retries
        self._load_retry_interval_seconds = load_retry_interval_seconds
        self._wait_seconds = wait_seconds
        self._allow_labels_of_unavailable = allow_labels_of_unavailable
        self._on_configs = on_configs
        self._poll_lock = threading.Lock()
        self._reload_lock = threading.Lock()

    def poll(self) -> None:
        """Looks at all base paths once.

        As in TensorFlow Serving, one missing base path lets the round pass for all models.
        """
        with self._poll_lock:
            models = list(self.models.all().values())
            found = [(versions, versions.found()) for versions in models]
            if any(on_disk is None for _, on_disk in found):
                return
            for versions, on_disk in found:
                versions.apply(on_disk or {})

    def start(self, configs: Sequence[ModelConfig], *, is_wanted: Callable[[], bool]) -> bool:
        """Loads the first models.

        Returns:
            Whether all are AVAILABLE; False where they are not wanted any more.

        Raises:
            RequestError: A model failed all its tries; or there are labels, which as in
                TensorFlow Serving need `allow_labels_of_unavailable` before anything is loaded.
        """
        for config in configs:
            for number in config.labels.values():
                if not self._allow_labels_of_unavailable:
                    raise _not_loaded(config.name, number)
        with self._reload_lock:
            return self._apply(configs, is_wanted)

    def reload(self, config: Any, *, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Replaces the models by those of a ModelServerConfig, once new ones are AVAILABLE.

        Raises:
            RequestError: The config is wrong, a new model failed, or a label cannot be set.
        """
        configs = model_configs(config)
        with self._reload_lock:
            self._on_configs(configs)
            self._apply(configs, is_wanted)

    def close(self) -> None:
        """Unloads everything; a version in use is freed when its last request ends."""
        for versions in self.models.all().values():
            versions.close()

    def _apply(self, configs: Sequence[ModelConfig], is_wanted: Callable[[], bool]) -> bool:
        before = self.models.all()
        labels = {name: self.models.labels(name) for name in before}
        served = {config.name: before.get(config.name) or self._new(config) for config in configs}
        added = [served[name] for name in served if name not in before]
        with self._poll_lock:  # no round of polls may see half of it
            for config in configs:
                served[config.name].reconfigure(config.base_path, config.policy)
            self.models.replace(served, {name: labels.get(name, {}) for name in served})
            for name in before.keys() - served.keys():
                _logger.info("Model %s is not configured any more and is unloaded", name)
                before[name].close()
        if not self._are_available(added, is_wanted):
            return False
        self._set_labels(configs)
        return True

    def _new(self, config: ModelConfig) -> Versions:
        return Versions(
            config.name,
            config.base_path,
            self._load,
            max_num_load_retries=self._max_num_load_retries,
            load_retry_interval_seconds=self._load_retry_interval_seconds,
            policy=config.policy,
        )

    def _are_available(self, models: list[Versions], is_wanted: Callable[[], bool]) -> bool:
        pause = threading.Event()
        while is_wanted():
            self.poll()
            waiting = [versions for versions in models if not versions.is_available()]
            if not waiting:
                return True
            failed = [versions for versions in waiting if versions.failures()]
            if failed:
                raise RequestError(Code.UNKNOWN, _not_available(failed))
            pause.wait(self._wait_seconds)
        return False

    def _set_labels(self, configs: Sequence[ModelConfig]) -> None:
        served = self.models.all()
        for config in configs:
            known = self.models.labels(config.name)
            for label, number in config.labels.items():
                may_be_missing = self._allow_labels_of_unavailable and label not in known
                stays = known.get(label) == number
                if not (may_be_missing or stays or served[config.name].is_loaded(number)):
                    raise _not_loaded(config.name, number)
        labels: Mapping[str, Mapping[str, int]] = {c.name: dict(c.labels) for c in configs}
        self.models.replace(served, labels)


def _not_loaded(model_name: str, number: int) -> RequestError:
    return RequestError(
        Code.FAILED_PRECONDITION,
        f"Request to assign label to version {number} of model {model_name}, which is not "
        "currently available for inference",
    )


def _not_available(failed: Sequence[Versions]) -> str:
    reports = [(versions.model_name, versions.failures()[0]) for versions in failed]
    listed = ", ".join(
        f"{{name: {name} version: {report.version}}} due to error: {report.error_message}"
        for name, report in reports
    )
    return f"{len(failed)} servable(s) did not become available: {{{listed}}}"
