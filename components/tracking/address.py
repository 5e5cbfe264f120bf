"""Addresses of servers, without the accounts that may stand in them."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping

from slimworks.components.addresses import HIDDEN, without_accounts
from slimworks.components.errors import ConfigError

SECRET_VARIABLES = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")


def checked_address(uri: str) -> str:
    """The address of an MLflow server, without a slash at its end.

    An account in it is refused, because the configuration is written into every run's folder and
    report.

    Raises:
        ConfigError: It is no http or https address, or holds an account.
    """
    try:
        parts = urllib.parse.urlsplit(uri)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # ValueError where it is no number
    except ValueError:
        is_address = False
    if "@" in uri:  # never shown: what stands before it may be a password
        raise ConfigError(
            "tracking.mlflow_uri holds an account: there is an '@' in it.",
            "Leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, in the environment.",
        )
    if not is_address or parts.query or parts.fragment:
        raise ConfigError(
            f"tracking.mlflow_uri is {uri!r}, expected the address of an MLflow server.",
            "Write it like http://127.0.0.1:5000; `mlflow server` says its own.",
        )
    return uri.rstrip("/")


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text without the accounts of addresses and the values of MLflow's secret variables.

    Args:
        text: Such as the message of an error.
        environment: Variables; None: those of this process.
    """
    text = without_accounts(text)
    variables = os.environ if environment is None else environment
    for name in SECRET_VARIABLES:
        if secret := variables.get(name):
            text = text.replace(secret, HIDDEN)
    return text
