"""Labels move only when a real server has loaded the version; canary, promote, rollback there."""

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from pusher_samples import assert_consistent, events, told_to_servers, versions

from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.pusher import ledger
from slimworks.components.pusher.config import PushConfig
from slimworks.components.pusher.labels import labels_of
from slimworks.components.pusher.publish import Published
from slimworks.components.pusher.release import promote, publish_and_label, roll_back
from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess

NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models that answer differently, and one that no server can load."""
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self, answer: str) -> None:
            super().__init__()
            self.answer = tf.Variable(answer)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            num_images = tf.shape(images)[0]
            return {
                "classes": tf.fill([num_images, 1], self.answer),
                "probabilities": tf.ones([num_images, 1]),
                "class_index": tf.zeros([num_images, 1], tf.int64),
                "is_known": tf.fill([num_images], True),
            }

    found = {}
    folder = tmp_path_factory.mktemp("models")
    for name in ("a", "b"):
        model = Model(name)
        tf.saved_model.save(model, str(folder / name), signatures=model.serve)
        found[name] = folder / name
    found["broken"] = folder / "broken"
    shutil.copytree(found["b"], found["broken"])
    (found["broken"] / "saved_model.pb").write_bytes(b"no graph")
    return found


@pytest.fixture
def base(tmp_path: Path, models: dict[str, Path]) -> Path:
    """A base path where model a is version 1, and stable."""
    push(models["a"], tmp_path / "flowers")
    return tmp_path / "flowers"


@pytest.fixture
def server(base: Path) -> Iterator[str]:
    """A server that follows models.config."""
    flags = (
        f"--model_config_file={base}/.slimworks/models.config",
        "--model_config_file_poll_wait_seconds=0.1",
        "--allow_version_labels_for_unavailable_models",
    )
    with ServerProcess(base, "flowers", poll_wait_seconds=0.1, extra_flags=flags) as running:
        yield running.address


def push(model: Path, base: Path, *servers: str, **settings: object) -> Published:
    config = PushConfig.model_validate({"server": servers, **settings})
    return publish_and_label(model, base, facts={}, config=config)


def answer(server: str, version: int) -> tuple[str, int]:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    with Client(server, "flowers", version=version) as client:
        (prediction,) = client.predict_bytes([stream.getvalue()])
    return prediction.class_names[0], prediction.version


@pytest.mark.slow
def test_canary_is_confirmed_promoted_and_rolled_back_on_a_running_server(
    base: Path, models: dict[str, Path], server: str
) -> None:
    assert push(models["b"], base, server, label="canary").version == 2
    assert events(base)[-2:] == [("pushed", 2), ("labelled", 2)]
    assert ledger.history(base)[-1].reason == f"AVAILABLE on {server}"
    assert told_to_servers(base) == {"stable": 1, "canary": 2}
    assert (answer(server, 1), answer(server, 2)) == (("a", 1), ("b", 2))
    assert promote(base, config=PushConfig(server=(server,))).version == 2
    assert told_to_servers(base) == {"stable": 2}
    assert roll_back(base, config=PushConfig(server=(server,))).version == 3
    assert told_to_servers(base) == {"stable": 3}
    assert answer(server, 3) == ("a", 3)
    assert_consistent(base)
    # What it cannot load it says, and nothing moves.
    with pytest.raises(ServingError, match="cannot load version 4 of 'flowers'") as caught:
        push(models["broken"], base, server)
    assert caught.value.cause.endswith("The version stays, no label moved.")
    assert f"slimworks rollback --base-path {base}" in caught.value.fix
    assert events(base)[-2:] == [("pushed", 4), ("unconfirmed", 4)]
    assert told_to_servers(base) == {"stable": 3}
    assert answer(server, 3) == ("a", 3)
    assert_consistent(base)


@pytest.mark.slow
def test_versions_that_a_server_holds_are_not_removed(base: Path, models: dict[str, Path]) -> None:
    with ServerProcess(base, "flowers", poll_wait_seconds=600) as running:  # stays with version 1
        for name in ("b", "a", "b"):
            push(models[name], base)
        with pytest.raises(ServingError, match="did not report version 4"):
            push(models["b"], base, running.address, keep_versions=1, confirm_timeout_seconds=0.3)
        assert versions(base) == [1, 4]
    push(models["a"], base, keep_versions=1)
    assert versions(base) == [5]


@pytest.mark.slow
def test_server_is_asked_by_tls(base: Path, models: dict[str, Path], tmp_path: Path) -> None:
    key, certificate = tmp_path / "server.key", tmp_path / "server.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=models", "-addext",
            "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    config = tmp_path / "ssl.config"
    config.write_text(
        f"server_key: {json.dumps(key.read_text())} "
        f"server_cert: {json.dumps(certificate.read_text())} client_verify: false"
    )
    flags = (f"--ssl_config_file={config}",)
    with ServerProcess(base, "flowers", poll_wait_seconds=0.1, extra_flags=flags) as running:
        with pytest.raises(ServingError, match="did not report version 2"):
            push(models["b"], base, running.address, confirm_timeout_seconds=0.3)
        assert push(models["b"], base, running.address, server_ca=str(certificate)).version == 2
    assert told_to_servers(base) == {"stable": 2}


def test_missing_certificate_is_found_before_anything_is_published(
    base: Path, models: dict[str, Path]
) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        push(models["b"], base, NOBODY, server_ca="nowhere.pem")
    assert events(base) == [("pushed", 1)]


def test_label_stays_where_no_server_answers(base: Path, models: dict[str, Path]) -> None:
    with pytest.raises(ServingError) as caught:
        push(models["b"], base, NOBODY, confirm_timeout_seconds=0.2)
    assert caught.value.cause.startswith(
        f"{NOBODY} did not report version 2 of 'flowers' AVAILABLE within 0.2 seconds: "
    )
    assert "raise push.confirm_timeout_seconds" in caught.value.fix
    assert f"slimworks promote 2 --base-path {base}" in caught.value.fix
    assert told_to_servers(base) == {"stable": 1}
    assert events(base) == [("pushed", 1), ("pushed", 2), ("unconfirmed", 2)]
    assert promote(base, 2).previous == 1  # the operator's own word
    assert_consistent(base)


def test_nothing_is_removed_while_a_server_does_not_say_what_it_serves(
    base: Path, models: dict[str, Path]
) -> None:
    for name in ("b", "a"):
        push(models[name], base)
    with pytest.raises(ServingError, match="The version stays"):
        push(models["b"], base, NOBODY, keep_versions=1, confirm_timeout_seconds=0.1)
    assert versions(base) == [1, 2, 3, 4]


def test_rollback_without_a_server_that_loads_it_moves_no_label(
    base: Path, models: dict[str, Path]
) -> None:
    push(models["b"], base)
    with pytest.raises(ServingError, match="did not report version 3"):
        roll_back(base, config=PushConfig(server=(NOBODY,), confirm_timeout_seconds=0.1))
    assert labels_of(ledger.history(base)) == {"stable": 2}
    assert_consistent(base)


@pytest.mark.parametrize("address", ["localhost", "http://a:1", "a b:1", "a:port", ""])
def test_addresses_without_a_port_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no address: write HOST:PORT"):
        PushConfig(server=(address,))


@pytest.mark.parametrize("address", ["a:1", "10.0.0.1:8500", "[::1]:8500", "unix:/run/x"])
def test_one_address_may_stand_alone(address: str) -> None:
    assert PushConfig.model_validate({"server": address}).server == (address,)
