import json
import os
import subprocess
import sys

import pytest
from evaluator_samples import CLASS_NAMES, NUM_IMAGES

from slimworks.components import contracts


@pytest.mark.slow
def test_evaluate_prints_a_table_and_writes_what_the_table_shows(tmp_path, model_dir, examples_dir):
    source = tmp_path / "ingested"
    source.mkdir()
    os.symlink(examples_dir, source / "examples")
    contracts.LabelMap(CLASS_NAMES).write(source / "label_map")
    command = [sys.executable, "-m", "slimworks", "evaluate", "--model", model_dir]
    command += ["--examples", source, "--output", tmp_path / "out"]
    command += ["--set", "evaluate.slices=[[size, class]]", "--set", "evaluate.tfma=false"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    shown = result.stdout + result.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert f"{NUM_IMAGES} images of the split test, 3 classes" in shown
    assert f"{metrics['accuracy']:.3f}" in shown
    for name in CLASS_NAMES:
        assert f"size=small, class={name}" in shown
    assert f"wrote {tmp_path / 'out'}" in shown
