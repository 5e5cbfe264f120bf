"""What a step shows in the Kubeflow UI: metrics, confusion matrix, the gate's table, the report.

A container says it by an ExecutorOutput: JSON in the file that its ExecutorInput names
(https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto).
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.gate.table import format_table

REPORT = "report"  # the exit handler's name
OUTCOME = "outcome"  # of the gate, as a parameter: decides whether the push is tried
BLESSED, KEPT, REFUSED, NOTHING = "blessed", "kept", "refused", "nothing to do"

MAX_CLASSES = 100  # a larger matrix is not readable there; the report has it
_METRICS = ("num_images", "accuracy", "top5_accuracy", "macro_f1", "log_loss", "ece")
_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<body style="font-family: sans-serif"><h3>{title}</h3><pre>{text}</pre></body></html>
"""


def metrics_shown(metrics: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Metadata of the evaluator's two artifacts, by name, from metrics.json or without it."""
    if metrics is None:
        return {}
    shown: dict[str, dict[str, Any]] = {
        "metrics": {key: metrics[key] for key in _METRICS if metrics.get(key) is not None}
    }
    matrix, names = metrics["confusion_matrix"], [c["class_name"] for c in metrics["classes"]]
    if len(names) <= MAX_CLASSES:
        shown["confusion_matrix"] = {
            "confusionMatrix": {
                "annotationSpecs": [{"displayName": name} for name in names],
                "rows": [{"row": row} for row in matrix],
            }
        }
    return shown


def gate_outcome(decision: Mapping[str, Any] | None) -> str:
    """What the gate's decision means for the push, in a word."""
    if decision is None:
        return NOTHING
    if decision["blessed"]:
        return BLESSED
    is_kept = decision["on_inconclusive"] == "keep"
    return KEPT if is_kept and decision["verdict"] == contracts.INCONCLUSIVE else REFUSED


def gate_page(decision: Mapping[str, Any] | None) -> str:
    """The gate's table as a page."""
    if decision is None:
        return page("Gate", "The gate did not run: nothing was trained.")
    return page(f"Gate: {decision['verdict']}", format_table(decision))


def page(title: str, text: str) -> str:
    """A small page of a title and text as it stands."""
    return _PAGE.format(title=html.escape(title), text=html.escape(text))


def write_executor_output(
    executor_input: Mapping[str, Any], metadata: Mapping[str, Mapping[str, Any]]
) -> None:
    """Writes the ExecutorOutput.

    Args:
        executor_input: What Kubeflow handed the container as `{{$}}`.
        metadata: Of each output artifact that has some.
    """
    outputs = executor_input["outputs"]
    artifacts = {}
    for name, listed in outputs.get("artifacts", {}).items():
        (artifact,) = listed["artifacts"]
        artifacts[name] = {
            "artifacts": [
                {
                    "name": artifact["name"],
                    "uri": artifact["uri"],
                    "metadata": dict(metadata.get(name, {})),
                }
            ]
        }
    files.write_json(outputs["outputFile"], {"artifacts": artifacts})
