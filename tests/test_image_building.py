"""What images/build.sh and images/base_image.sh refuse, and what they say to do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HAS_NOTHING = "/bin/false"  # an engine without any image
HAS_EVERYTHING = "/bin/true"


def _refusal(script: str, *arguments: str, **settings: str) -> str:
    done = subprocess.run(
        [ROOT / script, *arguments], env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_base_without_a_digest_is_refused() -> None:
    message = _refusal("images/build.sh", "client", ENGINE=HAS_NOTHING, DEBIAN_BASE="debian:12")
    assert "DEBIAN_BASE is 'debian:12', expected NAME:TAG@sha256:DIGEST or localhost/" in message
    assert "imagetools inspect debian:12 prints the digest" in message


def test_base_with_half_a_digest_is_refused() -> None:
    base = "debian:12@sha256:0123"
    message = _refusal("images/build.sh", "client", ENGINE=HAS_NOTHING, DEBIAN_BASE=base)
    assert f"DEBIAN_BASE is '{base}', expected" in message


def test_server_base_without_a_digest_is_refused() -> None:
    base = "docker.io/tensorflow/serving:2.16.1"
    message = _refusal("images/build.sh", "serving", ENGINE=HAS_EVERYTHING, SERVING_BASE=base)
    assert f"SERVING_BASE is '{base}', expected" in message


def test_missing_local_base_is_named() -> None:
    base = "localhost/none:1"
    message = _refusal("images/build.sh", "client", ENGINE=HAS_NOTHING, DEBIAN_BASE=base)
    assert "DEBIAN_BASE is localhost/none:1, which this machine has not." in message
    assert "Fix:   make base-image, or give a base by its digest." in message


def test_unknown_image_lists_those_there_are() -> None:
    message = _refusal("images/build.sh", "trainer", ENGINE=HAS_EVERYTHING)
    assert "There is no image trainer." in message
    assert "client, pipeline, serving, serving-embedded, trainer-gpu" in message


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_base_image_without_root_says_so() -> None:
    script = (ROOT / "images/base_image.sh").read_text(encoding="utf-8")
    done = subprocess.run(
        ["/bin/sh", "-s"], input=script, env={**os.environ, "ENGINE": HAS_NOTHING},
        capture_output=True, text=True, user=65534, cwd="/",
    )  # fmt: skip
    assert done.returncode == 2
    assert "it needs root" in done.stderr
    assert "sudo make base-image" in done.stderr
