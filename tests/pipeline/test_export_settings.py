"""What the trainer exports is set in the section `serving`."""

from __future__ import annotations

from slimworks.components.trainer.config import ExportConfig
from slimworks.pipeline.config import parse_config
from slimworks.pipeline.dag import export_config

SET = {
    "top_k": 2,
    "min_probability": 0.3,
    "temperature_scaling": False,
    "min_precision": 0.9,
    "known_by": "energy",
    "known_rate": 0.95,
}


def test_every_setting_reaches_the_trainer() -> None:
    config = parse_config({"data": {"source": "photos"}, "serving": SET})
    assert export_config(config).model_dump() == SET


def test_defaults_agree() -> None:
    assert export_config(parse_config({"data": {"source": "photos"}})) == ExportConfig()
