"""The section `tracking`: addresses, accounts, what is told of them."""

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.tracking.address import checked_address, without_secrets
from slimworks.pipeline.config import load_config


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://mlflow.example/base/", "https://mlflow.example/base"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_address_of_a_server_is_taken(given: str, kept: str) -> None:
    assert load_config(overrides=[f"tracking.mlflow_uri={given}"]).tracking.mlflow_uri == kept


@pytest.mark.parametrize(
    "uri",
    ["127.0.0.1:5000", "sqlite:///runs.db", "http://", "http://host:port", "http://host?a=b", ""],
)
def test_anything_else_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"expected the address of an MLflow server") as caught:
        checked_address(uri)
    assert "http://127.0.0.1:5000" in caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "uri", ["https://ann:s3cret@host", "http://ann:s3/cret@host", "ann:s3cret@host", "http://t@h"]
)
def test_account_in_the_address_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"holds an account") as caught:
        load_config(overrides=[f"tracking.mlflow_uri={uri}"])
    assert "MLFLOW_TRACKING_PASSWORD" in caught.value.fix
    assert "cret" not in str(caught.value)


def test_secrets_are_taken_out_of_messages() -> None:
    environment = {"MLFLOW_TRACKING_TOKEN": "tok-1", "MLFLOW_TRACKING_PASSWORD": "pass-2"}
    message = "GET https://ann:p@ss@proxy/x said tok-1 and pass-2, then http://host/a@b"
    shown = without_secrets(message, environment)
    assert shown == "GET https://***@proxy/x said *** and ***, then http://host/a@b"


def test_folder_without_tensorboard_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"tensorboard_dir is set, and tracking.tensorboard"):
        load_config(overrides=["tracking.tensorboard_dir=/logs"])


def test_nothing_is_tracked_by_default() -> None:
    tracking = load_config().tracking
    assert tracking.mlflow_uri is None
    assert not tracking.tensorboard
