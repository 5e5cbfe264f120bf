"""docs/networks.md is what the registry and the measurements say."""

from __future__ import annotations

import json
from pathlib import Path

from slimworks.components.nets.page import networks_page
from slimworks.components.nets.registry import REGISTRY

DOCS = Path(__file__).parents[3] / "docs"


def _measured() -> dict:
    return json.loads((DOCS / "networks.json").read_text(encoding="utf-8"))


def test_page_is_generated_from_the_registry_as_it_is() -> None:
    page = (DOCS / "networks.md").read_text(encoding="utf-8")
    assert page == networks_page(REGISTRY.values(), _measured()), "run `make docs`"


def test_every_network_was_measured_in_both_modes() -> None:
    speeds = _measured()["nets"]
    assert list(speeds) == list(REGISTRY)
    assert all(net[kind]["images_per_second"] > 0 for net in speeds.values() for kind in net), (
        "an image rate of 0"
    )
    assert {kind for net in speeds.values() for kind in net} == {"inference", "training"}


def test_page_notes_where_an_accuracy_was_measured_at_another_size() -> None:
    page = networks_page(REGISTRY.values(), _measured())
    assert "- `resnet_v2_50`: accuracy measured at 299 px." in page
