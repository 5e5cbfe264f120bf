"""The little of Kubernetes' API that a pod needs to start and follow a job: JSON over HTTPS."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slimworks.components.errors import ConfigError, TrainingError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_SECONDS = 30.0


class StatusError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


class KubernetesApi:
    """One API server, asked as one service account."""

    def __init__(self, address: str, account: Path = SERVICE_ACCOUNT) -> None:
        """Connects to nothing yet.

        Args:
            address: https://HOST:PORT.
            account: Folder with token, ca.crt and namespace, as a pod has it.
        """
        self._address, self._account = address, account
        certificates = account / "ca.crt"
        is_secure = address.startswith("https://")
        self._context = ssl.create_default_context(cafile=str(certificates)) if is_secure else None

    @classmethod
    def in_cluster(cls) -> KubernetesApi:
        """The server of the cluster that this pod is in.

        Raises:
            ConfigError: This is no pod, or one without a service account's token.
        """
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{key}") for key in ("HOST", "PORT"))
        if not host or not (SERVICE_ACCOUNT / "token").is_file():
            raise ConfigError(
                "A training with a TFJob runs in a pod whose service account may create one.",
                "Name it: kubeflow.service_account (k8s/components/tfjob has its rights).",
            )
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port or 443}")

    @property
    def namespace(self) -> str:
        """The pod's own."""
        return (self._account / "namespace").read_text(encoding="utf-8").strip()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Asks and returns the JSON of the answer.

        Raises:
            StatusError: The server refuses.
            OSError: It cannot be reached.
        """
        content = None if body is None else json.dumps(body).encode("utf-8")
        with self._open(method, path, content, _TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def lines(self, path: str) -> Iterator[str]:
        """Yields the lines of an answer as they come.

        Raises:
            StatusError: The server refuses.
            OSError: It cannot be reached, or the connection ends.
        """
        with self._open("GET", path, None, None) as answer:
            for line in answer:
                yield line.decode("utf-8", "replace").rstrip("\n")

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, content: bytes | None, timeout: float | None
    ) -> Iterator[Any]:
        headers = {"Content-Type": "application/json"}
        token = self._account / "token"
        if token.is_file():  # read each time: the kubelet replaces it
            headers["Authorization"] = f"Bearer {token.read_text(encoding='utf-8').strip()}"
        request = urllib.request.Request(
            self._address + path, data=content, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=self._context) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode("utf-8", "replace")
            raise StatusError(error.code, _message(text)) from None
        except http.client.HTTPException as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from None


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:200]


def refusal(error: StatusError, what: str) -> TrainingError | ConfigError:
    """The error for a user where the server refuses something."""
    if error.status in (401, 403):
        return ConfigError(
            f"The service account may not {what} ({error}).",
            "Give it the rights of k8s/components/tfjob, and name it: kubeflow.service_account.",
        )
    if error.status == 404:
        return ConfigError(
            f"This cluster cannot {what} ({error}).",
            "Install the Training Operator (v1), or set train.workers=1.",
        )
    return TrainingError(f"Kubernetes does not {what} ({error}).", "Look at the API's own log.")
