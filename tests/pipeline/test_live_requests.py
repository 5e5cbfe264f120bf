"""From a served model's request log to the next run: live drift starts it, a shadow judges it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_samples import write_tiny_photos
from PIL import Image
from pipeline_runs import run

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess
from slimworks.pipeline.verbs.drifting import _reference
from slimworks.pipeline.verbs.runs import pushed_run
from slimworks.pipeline.verbs.shadowing import _request_log


def dark_photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 40, (32, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def drift(*arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "slimworks", "drift", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout), done.stderr


# Three runs of the pipeline, on a machine that may be busy.
@pytest.mark.big
@pytest.mark.timeout(900)
def test_log_of_a_served_model_is_measured_starts_a_run_and_judges_it(
    tiny_photos: Path, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(tiny_photos, tmp_path / "photos"))
    root, log = tmp_path / "runs", tmp_path / "log" / "tiny"
    code, first, stderr = run(photos, root)
    assert (code, first["version"]) == (0, 1), stderr

    base = Path(first["pushed_to"]).parent
    flags = (f"--request_log={log}", "--request_log_sampling_rate=1")
    with (
        ServerProcess(base, "tiny", extra_flags=flags) as server,
        Client(server.address, "tiny") as client,
    ):
        for seed in range(40):
            client.predict_bytes([dark_photo(seed)])

    output = tmp_path / "drift.json"
    code, found, stderr = drift(
        "--request-log", str(log), "--root", str(root), "--max-drift", "0.5",
        "--output", str(output),
    )  # fmt: skip
    assert code == 3, stderr
    assert (found["run_id"], found["num_images"], found["versions"]) == (
        first["run_id"], 40, {"1": 40},
    )  # fmt: skip
    assert "image/brightness" in found["exceeded"]
    assert files.read_json(output) == found

    settings = (
        "--set", f"retrain.request_log={log}", "--set", "retrain.min_live_drift=0.5",
        "--set", f"gate.require_shadow={{log: {log}, min_requests: 20, min_agreement: 0.0}}",
    )  # fmt: skip
    code, outcome, stderr = run(photos, root, *settings)
    assert (code, outcome["version"]) == (0, None), stderr
    assert outcome["reasons"][1].startswith("Live requests drifted (")

    write_tiny_photos(photos, num_per_class=4, seed=3)
    code, outcome, stderr = run(photos, root, *settings)
    report = Path(outcome["report"]).read_text("utf-8")
    assert "Live drift of " in report
    assert "40 images of 40 logged requests against 120 that the model was trained on" in report
    (decision,) = [
        path.parent
        for path in sorted(root.glob("tiny/artifacts/gate/blessing/*/decision.json"))
        if (path.parent / "shadow.json").is_file()
    ]
    verdicts = {
        bound["name"]: bound["verdict"]
        for bound in files.read_json(decision / "decision.json")["bounds"]
    }
    assert verdicts["shadow_requests"] == "pass", stderr
    assert verdicts["shadow_agreement"] == "pass"
    shadowed = files.read_json(decision / "shadow.json")
    assert shadowed["num_images"] == 40
    assert shadowed["primary"]["digest"] != shadowed["candidate"]["digest"]
    assert (decision / "shadow.html").is_file()


def test_drift_says_what_is_missing(tmp_path: Path) -> None:
    code, found, _ = drift("--request-log", str(tmp_path / "none"))
    assert code == 3
    assert found["error"]["cause"].startswith("There is no closed request log at")


def test_no_pushed_run_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No run below .* pushed a model"):
        pushed_run(str(tmp_path))


def test_run_without_statistics_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Run 2026 has no statistics of its training images\."):
        _reference(tmp_path, "2026")


def test_log_of_a_mirror_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    prefix = str(tmp_path / "file" / "x")
    message = r"Cannot log requests to .*file/x: File exists\."
    with pytest.raises(ConfigError, match=message), _request_log(prefix):
        pass
