"""What the pipeline costs beyond its work, on the demo: `run` against the plain functions.

Prints one JSON line. The plain functions are the components' own, called one after another in a
process that has imported everything; `run` adds start-up, imports, compilation, ML Metadata, one
process a node, the report. Both are measured in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from slimworks.components import files
from slimworks.pipeline.demo import CONFIG, write_digits

IMPORTS = {
    "slimworks": "import slimworks",
    "command line": "import slimworks.pipeline.cli",
    "client": "import slimworks.components.serving.client",
    "configuration": "import slimworks.pipeline.config",
    "launcher": "from slimworks.pipeline import tfx_import; tfx_import.load()",
}


def pure_work(folder: Path, config_path: Path) -> float:
    """Seconds of the components' plain functions on the demo's data, imports not counted."""
    from slimworks.pipeline import tfx_import

    tfx_import.load()
    import tensorflow_data_validation  # noqa: F401
    import tensorflow_model_analysis  # noqa: F401
    import tensorflow_transform  # noqa: F401

    from slimworks.components import contracts
    from slimworks.components.evaluator.evaluate import evaluate
    from slimworks.components.gate.blessing import bless
    from slimworks.components.ingest.ingest import IngestOutputs, ingest
    from slimworks.components.pusher.publish import publish
    from slimworks.components.replay.replay import replay
    from slimworks.components.statistics.schema import infer_schema
    from slimworks.components.statistics.statistics import compute_statistics
    from slimworks.components.statistics.validation import validate_statistics
    from slimworks.components.trainer.train import TrainInputs, train
    from slimworks.components.transform.transform import TransformOutputs, transform
    from slimworks.pipeline import dag
    from slimworks.pipeline.config import load_config

    config = load_config(str(config_path))
    at = {name: str(folder / name) for name in (
        "examples", "label_map", "report", "statistics", "schema", "anomalies", "graph", "stored",
        "model", "work", "evaluation", "blessing", "replay", "serving",
    )}  # fmt: skip
    started = time.monotonic()
    outputs = IngestOutputs(at["examples"], at["label_map"], at["report"])
    ingest(str(config.data.source), outputs, config.data, str(folder / "state"))
    labels = contracts.LabelMap.read(at["label_map"])
    compute_statistics(at["examples"], at["statistics"])
    infer_schema(at["statistics"], labels, at["schema"])
    validate_statistics(at["statistics"], at["schema"], at["anomalies"])
    transformed = TransformOutputs(at["graph"], at["stored"])
    transform(at["examples"], transformed, dag.transform_settings(config))
    inputs = TrainInputs(at["stored"], at["graph"], at["label_map"])
    export = dag.export_config(config)
    train(inputs, at["model"], at["work"], config.model, config.train, export)
    evaluate(at["model"], at["examples"], labels, at["evaluation"], config.evaluate)
    bless(at["evaluation"], at["model"], labels, at["blessing"], config.gate)
    saved_model = str(folder / "model" / contracts.SAVED_MODEL_FOLDER)
    predictions = str(folder / "evaluation" / contracts.PREDICTIONS_FILE)
    replay(saved_model, at["examples"], "test", predictions, at["replay"], config.serving)
    publish(saved_model, at["serving"], facts={}, keep_versions=5)
    return time.monotonic() - started


def _seconds(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started


def _in_child(folder: Path, config_path: Path) -> float:
    command = [sys.executable, __file__, "--pure", str(folder), str(config_path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(result.stdout.splitlines()[-1])


def _best_of_three(measure: Callable[[], float]) -> float:
    return round(min(measure() for _ in range(3)), 2)


def main() -> None:
    """Measures and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pure", nargs=2, metavar=("FOLDER", "CONFIG"), type=Path)
    arguments = parser.parse_args()
    if arguments.pure:
        print(pure_work(*arguments.pure))
        return
    runs, works, reruns = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_digits(root / "digits")
        config = root / "pipeline.yaml"
        files.write_text(config, CONFIG.format(source=root / "digits"))
        for repeat in range(arguments.repeats):
            command = [sys.executable, "-m", "slimworks", "run", "--config", str(config)]
            command += ["--root", str(root / f"runs{repeat}")]
            runs.append(_seconds(command))
            reruns.append(_seconds(command))
            works.append(_in_child(root / f"pure{repeat}", config))
    ratios = [run / work for run, work in zip(runs, works, strict=True)]
    result = {
        "benchmark": "pipeline_overhead",
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "against": "the same functions called one after another in one process, imports done",
        "overhead_seconds": round(statistics.median(runs) - statistics.median(works), 2),
        "run_seconds": round(statistics.median(runs), 2),
        "pure_seconds": round(statistics.median(works), 2),
        "cached_run_seconds": round(statistics.median(reruns), 2),
        "import_seconds": {
            name: _best_of_three(lambda code=code: _seconds([sys.executable, "-c", code]))  # type: ignore[misc]
            for name, code in IMPORTS.items()
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
