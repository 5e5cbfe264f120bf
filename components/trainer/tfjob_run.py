"""Runs a distributed training as a TFJob: creates it, follows it, ends it where it is ended.

The trainer's own pod only waits: the pods of the job read and write the same volume.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from slimworks.components import files
from slimworks.components.errors import ERRORS, ConfigError, SlimWorksError, TrainingError
from slimworks.components.trainer.job import TrainingJob
from slimworks.components.trainer.kubernetes_api import KubernetesApi, StatusError, refusal
from slimworks.components.trainer.launch import WORKERS_FOLDER
from slimworks.components.trainer.tfjob import PodSettings, tfjob_manifest

TFJOB_VARIABLE = "SLIMWORKS_TFJOB"  # PodSettings as JSON: this pod is to start a TFJob
POD_NAME_VARIABLE = "HOSTNAME"  # Kubernetes sets it in every container
CONTAINER = "slimworks"  # whose image the job's pods get where PodSettings names none
_ASK_SECONDS = 2.0
_GONE_SECONDS = 180.0  # more than the pods' grace
_SILENT_SECONDS = 300.0  # of an API server that restarts

_log = logging.getLogger(__name__)


def pod_settings(environment: Mapping[str, str] = os.environ) -> PodSettings | None:
    """What the pods of a TFJob get, where this process is to start one; else None."""
    text = environment.get(TFJOB_VARIABLE)
    return PodSettings(**json.loads(text)) if text else None


def job_name(work_dir: str) -> str:
    """Name of the TFJob of a training: the same again for the same work folder."""
    digest = hashlib.sha256(str(Path(work_dir).resolve()).encode("utf-8")).hexdigest()
    return f"slimworks-{digest[:12]}"


@dataclasses.dataclass
class TFJobRun:
    """One training as a TFJob; `run` is what `launch.Workers.run` is on one machine.

    Attributes:
        job: What the pods do.
        pod: What they get.
        api: Of the cluster.
        own_pod: Name of the pod that this runs in: when Kubernetes removes it, for whatever reason,
            the job goes with it. Empty: only `run` removes the job.
        pause: Waits so many seconds.
    """

    job: TrainingJob
    pod: PodSettings
    api: KubernetesApi
    own_pod: str = ""
    pause: Callable[[float], None] = time.sleep

    def run(self, is_interrupted: Callable[[], bool]) -> None:
        """Creates the job and returns when it has succeeded; removes it then, or when interrupted.

        One that an earlier try of this training left behind is ended first; training goes on from
        the last checkpoint.

        Raises:
            KeyboardInterrupt: As asked for; the pods get SIGTERM and write a checkpoint.
            SlimWorksError: What a pod said before it ended.
            TrainingError: The job failed.
            ConfigError: The service account has not the rights, or no image is named.
        """
        self.job.write()
        for stale in self._errors():
            stale.unlink()
        name = job_name(self.job.work_dir)
        manifest = self._manifest(name)
        self._remove(name)
        self._create(manifest)
        _log.info("the TFJob %s trains, with %d workers", name, self.job.config.workers)
        log = _ChiefLog(self.api, self._pods, name)
        try:
            log.start()
            self._follow(name, is_interrupted)
        except BaseException:
            self._remove(name)
            raise
        finally:
            log.stop()
        self._remove(name)

    @property
    def _jobs(self) -> str:
        return f"/apis/kubeflow.org/v1/namespaces/{quote(self.api.namespace)}/tfjobs"

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{quote(self.api.namespace)}/pods"

    def _manifest(self, name: str) -> dict[str, Any]:
        own = self._own_pod()
        pod = self.pod if self.pod.image else dataclasses.replace(self.pod, image=_image_of(own))
        manifest = tfjob_manifest(name, str(self.job.path), self.job.config, pod)
        if own:
            owner = {key: own["metadata"][key] for key in ("name", "uid")}
            manifest["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", **owner}]
        return manifest

    def _own_pod(self) -> dict[str, Any] | None:
        """None where it has no name, or one that is no pod's."""
        if not self.own_pod:
            return None
        try:
            pod: dict[str, Any] = self.api.request("GET", f"{self._pods}/{quote(self.own_pod)}")
        except StatusError as error:
            if error.status == 404:
                return None
            raise refusal(error, "read its own pod") from None
        return pod

    def _create(self, manifest: Mapping[str, Any]) -> None:
        try:
            self.api.request("POST", self._jobs, manifest)
        except StatusError as error:
            raise refusal(error, "create a TFJob") from None

    def _follow(self, name: str, is_interrupted: Callable[[], bool]) -> None:
        silent_since: float | None = None
        while not is_interrupted():
            try:
                state, message = self._state(name)
                silent_since = None
            except OSError as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > _SILENT_SECONDS:
                    raise TrainingError(
                        f"Kubernetes has not answered for {_SILENT_SECONDS:.0f} s: {error}.",
                        "Run again: training goes on from its last checkpoint.",
                    ) from None
                state, message = "", ""
            if state == "Succeeded":
                return
            if state == "Failed":
                self._raise_reported()
                raise TrainingError(
                    f"The TFJob {name} failed: {message or 'no message'}",
                    f"Look at its pods: kubectl logs -l training.kubeflow.org/job-name={name}",
                )
            self.pause(_ASK_SECONDS)
        raise KeyboardInterrupt

    def _state(self, name: str) -> tuple[str, str]:
        """(type, message) of the job's last condition that holds."""
        try:
            status = self.api.request("GET", f"{self._jobs}/{name}").get("status") or {}
        except StatusError as error:
            if error.status == 404:
                return "Failed", "somebody has deleted it."
            if error.status >= 500:
                raise ConnectionError(str(error)) from None
            raise refusal(error, "follow a TFJob") from None
        holding = [c for c in status.get("conditions", ()) if c["status"] == "True"]
        return (holding[-1]["type"], holding[-1].get("message", "")) if holding else ("", "")

    def _remove(self, name: str) -> None:
        """Deletes the job, and waits until its pods have ended."""
        try:
            self.api.request(
                "DELETE",
                f"{self._jobs}/{name}",
                {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"},
            )
        except StatusError as error:
            if error.status == 404:
                return
            raise refusal(error, "delete a TFJob") from None
        waited = 0.0
        while waited < _GONE_SECONDS:
            try:
                self.api.request("GET", f"{self._jobs}/{name}")
            except StatusError as error:
                if error.status == 404:
                    return
            self.pause(_ASK_SECONDS)
            waited += _ASK_SECONDS
        raise TrainingError(
            f"The TFJob {name} has not gone in {_GONE_SECONDS:.0f} s.",
            f"Look at it: kubectl describe tfjob {name}",
        )

    def _errors(self) -> list[Path]:
        return sorted((Path(self.job.work_dir) / WORKERS_FOLDER).glob("*.error.json"))

    def _raise_reported(self) -> None:
        for path in self._errors():
            error = files.read_json(path)
            kind = ERRORS.get(error["type"], SlimWorksError)
            raise kind(error["cause"], error["fix"], error["details"])


def _image_of(pod: Mapping[str, Any] | None) -> str:
    containers = pod["spec"]["containers"] if pod else []
    for container in containers:
        if container["name"] == CONTAINER:
            return str(container["image"])
    raise ConfigError(
        f"{TFJOB_VARIABLE} names no image, and this pod has no container {CONTAINER}.",
        f'Give {TFJOB_VARIABLE} an "image".',
    )


class _ChiefLog(threading.Thread):
    """Says here what the chief's pod writes, from where it stood when a connection ended."""

    def __init__(self, api: KubernetesApi, pods: str, name: str) -> None:
        super().__init__(name="chief-log", daemon=True)
        self._api, self._stopped = api, threading.Event()
        self._path = f"{pods}/{name}-chief-0/log?container=tensorflow&follow=true&timestamps=true"

    def stop(self) -> None:
        """Ends it with the next line."""
        self._stopped.set()

    def run(self) -> None:
        """Connects again until it is stopped."""
        last = ""
        while not self._stopped.is_set():
            since = f"&sinceTime={quote(last)}" if last else ""
            try:
                for line in self._api.lines(self._path + since):
                    stamp, _, text = line.partition(" ")
                    if stamp > last:  # sinceTime counts whole seconds
                        last = stamp
                        _log.info("chief: %s", text)
            except (OSError, StatusError) as error:  # not started yet, or moved to another node
                _log.debug("the chief's log: %s", error)
            self._stopped.wait(_ASK_SECONDS)
