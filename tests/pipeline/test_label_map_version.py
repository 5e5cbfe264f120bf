"""The label map's version on the command line: `show` for a run, `why` for a pushed model."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from slimworks.components import contracts, files
from slimworks.pipeline.cli import cli
from slimworks.pipeline.facts import RunFacts
from slimworks.pipeline.paths import PipelinePaths


def said(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("version", "is_shown"), [(3, True), (None, False)])
def test_show_says_the_version_that_a_run_recorded(
    tmp_path: Path, version: int | None, is_shown: bool
) -> None:
    paths = PipelinePaths(tmp_path, "photos")
    paths.create("/photos", is_name_chosen=False)
    record = {"run_id": "r1", "name": "photos", "state": "interrupted", "steps": []}
    files.write_json(paths.run("r1") / "run.json", {**record, contracts.LABEL_MAP_VERSION: version})
    assert ("label map: version 3" in said("show", "--root", tmp_path)) == is_shown


def test_version_of_a_run_comes_from_its_ingest(tmp_path: Path) -> None:
    label_map = contracts.LabelMap().updated(["cats", "dogs"]).updated(["ants"])
    label_map.write(tmp_path)
    paths = PipelinePaths(tmp_path, "photos")
    assert RunFacts(paths, "r1", {("ingest", "label_map"): tmp_path}).label_map_version() == 2
    assert RunFacts(paths, "r1", {}).label_map_version() is None


def test_why_says_the_version_of_a_model_that_was_pushed_by_hand(tmp_path: Path) -> None:
    model = tmp_path / "model"
    facts = {"net": "lenet", contracts.LABEL_MAP_VERSION: 3, contracts.LABEL_MAP_DIGEST: "d3"}
    files.write_json(model / contracts.EXTRA_ASSETS_FOLDER / contracts.MODEL_FACTS_FILE, facts)
    (model / "saved_model.pb").write_text("graph")
    said("push", "--model", model, "--base-path", tmp_path / "serving")
    lines = said("why", "1", "--base-path", tmp_path / "serving").splitlines()
    assert "  label_map_version: 3" in lines
    assert '  label_map_digest: "d3"' in lines
