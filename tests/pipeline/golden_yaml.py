"""Compiled pipelines beside those that were reviewed, in golden/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from slimworks.pipeline import stacks

GOLDEN = Path(__file__).parent / "golden"


def assert_is_reviewed(text: str, name: str) -> None:
    """Fails where compiled text is another than golden/NAME: to the letter on the locked stack."""
    expected = (GOLDEN / name).read_text(encoding="utf-8")
    if stacks.meant_stack() is stacks.LOCKED:
        assert text == expected, "golden/pipeline.yaml says how to make it anew"
    wanted = [_of_any_kfp(document) for document in yaml.safe_load_all(expected)]
    assert [_of_any_kfp(document) for document in yaml.safe_load_all(text)] == wanted


def _of_any_kfp(value: Any) -> Any:
    """Without what newer versions of kfp add: their own number, `optional: false`."""
    if isinstance(value, list):
        return [_of_any_kfp(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _of_any_kfp(item)
        for key, item in value.items()
        if key != "sdkVersion" and (key, item) != ("optional", False)
    }
