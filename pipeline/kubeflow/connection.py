"""Requests to the Kubeflow Pipelines API: who we are, patience, and words for what it refuses.

Through `kfp_server_api` itself: kfp's own client writes to the home folder, looks for clusters and
prints.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slimworks.components.errors import ConfigError
from slimworks.pipeline.kubeflow.config import KubeflowConfig

TOKEN_VARIABLE, COOKIE_VARIABLE = "SLIMWORKS_KUBEFLOW_TOKEN", "SLIMWORKS_KUBEFLOW_COOKIE"
# Where kfp's documents have a pod's service-account token projected, and who says otherwise.
CLUSTER_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
CLUSTER_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
CLUSTER_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
PAGE_SIZE = 100
TRIES = 4  # of what only reads
PASSING = (429, 502, 503, 504)  # a gateway's words for: try again


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Who we are: a token, a file that holds one (read for each request), or a cookie."""

    token: str = ""
    token_path: str = ""
    cookie: str = ""

    @classmethod
    def find(cls, token_path: str | None = None) -> Credentials:
        """The file that was given, the environment's token or cookie, or a pod's own token.

        Raises:
            ConfigError: The file cannot be read.
        """
        if token_path is not None:
            _read_token(token_path)
            return cls(token_path=token_path)
        if os.environ.get(TOKEN_VARIABLE) or os.environ.get(COOKIE_VARIABLE):
            return cls(
                token=os.environ.get(TOKEN_VARIABLE, ""), cookie=os.environ.get(COOKIE_VARIABLE, "")
            )
        projected = os.environ.get(CLUSTER_TOKEN_VARIABLE, CLUSTER_TOKEN)
        return cls(token_path=projected) if Path(projected).is_file() else cls()


def _read_token(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"The token file {path} cannot be read: {error.strerror}.",
            f"Give another to --token-file, or the token itself in {TOKEN_VARIABLE}.",
        ) from None


class Connection:
    """One API as one user; every method raises ConfigError where it refuses or is silent.

    Attributes:
        host: Its address.
        client: What the services of `kfp_server_api` ask through.
    """

    def __init__(
        self,
        config: KubeflowConfig,
        credentials: Credentials,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects to nothing yet.

        Args:
            config: Host, namespace, certificates, time-out.
            credentials: Who we are.
            pause: Waits so many seconds between two tries.

        Raises:
            ConfigError: No host, or Python 3.10.
        """
        _check_python(sys.version_info[:2])
        import kfp_server_api
        import urllib3

        self._config, self._pause = config, pause
        self.host = config.host or (CLUSTER_HOST if "KUBERNETES_SERVICE_HOST" in os.environ else "")
        if not self.host:
            raise ConfigError(
                "No Kubeflow: kubeflow.host is not set.",
                "Give the address of its API: --host https://kubeflow.example/pipeline.",
            )
        settings = kfp_server_api.Configuration(host=self.host)
        settings.ssl_ca_cert = config.ca_path or None
        # A redirect leads to a page for signing in: it is an answer, not a way on.
        settings.retries = urllib3.Retry(0, redirect=0, raise_on_redirect=False)
        _sign_in(settings, credentials)
        self.client = kfp_server_api.ApiClient(settings, cookie=credentials.cookie or None)
        self._refusal = kfp_server_api.ApiException

    def pages(self, listed: Callable[..., Any], key: str, **given: Any) -> Iterator[Any]:
        """Yields the entries of every page."""
        token = ""
        while True:
            page = self.read(listed, page_size=PAGE_SIZE, page_token=token, **given)
            yield from getattr(page, key) or ()
            token = page.next_page_token
            if not token:
                return

    def find(self, get: Callable[..., Any], **given: Any) -> Any:
        """What there is, or None."""
        try:
            return self.read(get, **given)
        except _MissingError:
            return None

    def read(self, get: Callable[..., Any], **given: Any) -> Any:
        """Asks again where the server is busy for a moment: reading twice changes nothing."""
        for attempt in range(TRIES):
            try:
                return self._request(get, **given)
            except _PassingError as error:
                if attempt == TRIES - 1:
                    raise ConfigError(error.cause, error.fix) from None
                self._pause(0.5 * 2**attempt)
        raise AssertionError("the last try returns or raises")

    def write(self, post: Callable[..., Any], *body: Any, **given: Any) -> Any:
        """Asks once: a second time might start a second run.

        Args:
            post: Of `kfp_server_api`.
            body: The message that it sends, if any; its versions disagree on the argument's name.
            given: What names the thing that is written.
        """
        return self._request(post, *body, **given)

    def _request(self, function: Callable[..., Any], *body: Any, **given: Any) -> Any:
        import urllib3

        try:
            value = function(*body, **given, _request_timeout=self._config.timeout_seconds)
        except self._refusal as error:
            raise _refusal(error, self.host) from None
        except urllib3.exceptions.HTTPError as error:
            raise self._silence(error) from None
        kind = self.client.last_response.getheader("Content-Type") or ""
        if "html" in kind:  # a page would be read as an empty list
            raise ConfigError(
                f"{self.host} answers with a page: it is not Kubeflow's API, or asks to sign in.",
                "Check --host (often it ends with /pipeline) and the token or cookie.",
            )
        return value

    def _silence(self, error: Exception) -> ConfigError:
        """The error where no answer came."""
        import urllib3

        reason = getattr(error, "reason", error)
        # A refused connection counts as a time-out in urllib3.
        is_refused = isinstance(reason, urllib3.exceptions.NewConnectionError)
        if isinstance(reason, urllib3.exceptions.TimeoutError) and not is_refused:
            return _PassingError(
                f"{self.host} did not answer in {self._config.timeout_seconds} s.",
                "Try again, or wait longer: --set kubeflow.timeout_seconds=120.",
            )
        return _PassingError(
            f"{self.host} cannot be reached: {type(reason).__name__}.",
            "Check --host and the network; from outside the cluster: kubectl port-forward -n "
            "kubeflow svc/ml-pipeline-ui 8080:80, then --host http://localhost:8080.",
        )


def _check_python(version: tuple[int, int]) -> None:
    if version < (3, 11):
        raise ConfigError(
            "Kubeflow's API is not supported with Python 3.10: kfp is too old there.",
            "Use Python 3.11.",
        )


class _MissingError(ConfigError):
    """404."""


class _PassingError(ConfigError):
    """May be gone in a moment."""


def _sign_in(settings: Any, credentials: Credentials) -> None:
    if credentials.token:
        settings.api_key["authorization"] = credentials.token
        settings.api_key_prefix["authorization"] = "Bearer"
    elif credentials.token_path:
        settings.api_key_prefix["authorization"] = "Bearer"
        settings.api_key["authorization"] = "?"  # replaced below: without a key nobody asks

        def refresh(current: Any) -> None:
            # The kubelet replaces a projected token long before it expires.
            current.api_key["authorization"] = _read_token(credentials.token_path)

        settings.refresh_api_key_hook = refresh


def _refusal(error: Any, host: str) -> ConfigError:
    """The error of an HTTP status, in words that say what to do."""
    message = _message(error)
    if error.status in (301, 302, 303, 307, 401):
        return ConfigError(
            f"{host} does not know who we are (HTTP {error.status}): the token or cookie is "
            "missing or has expired.",
            f"Give a new one: --token-file FILE, or {TOKEN_VARIABLE} or {COOKIE_VARIABLE} in the "
            "environment.",
        )
    if error.status == 403:
        return ConfigError(
            f"{host} does not allow it (HTTP 403){message}.",
            "Ask for the rights, or name your own namespace: --namespace NAME.",
        )
    if error.status == 404:
        return _MissingError(
            f"{host} has no such thing (HTTP 404){message}.",
            "Check that --host is the address of the API, and --namespace.",
        )
    if error.status == 409:
        return ConfigError(
            f"{host} has it already (HTTP 409){message}.", "Give another name: --name NAME."
        )
    if error.status in PASSING:
        return _PassingError(f"{host} is busy (HTTP {error.status}){message}.", "Try again later.")
    if error.status in (None, 0):
        return ConfigError(
            f"{host} has a certificate that nobody known signed{message}.",
            "Name the certificates that sign it: --set kubeflow.ca_path=FILE.",
        )
    return ConfigError(
        f"{host} failed (HTTP {error.status}){message}.",
        "Look at the log of its ml-pipeline pod, then try again.",
    )


def _message(error: Any) -> str:
    """The server's own words, shortened; they come as JSON with `message` or `error`."""
    text = error.body or error.reason or ""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    with contextlib.suppress(ValueError, AttributeError):
        value = json.loads(text)
        text = str(value.get("message") or value.get("error") or text)
    words = " ".join(text.split())[:200].rstrip(".")
    return f": {words}" if words else ""
