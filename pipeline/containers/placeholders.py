"""Placeholders of the IR, filled: parameters, outputs, the ExecutorInput; and conditions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components.errors import ConfigError

OUTPUT_FILE = "executor_output.json"

_PLACEHOLDER = re.compile(
    r"\{\{\$(?:\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\](?:\.(\w+))?)?\}\}"
)
_CONDITION = re.compile(r"\s*inputs\.parameter_values\['([^']+)'\]\s*([!=]=)\s*'([^']*)'\s*")
_INTEGER = "NUMBER_INTEGER"


def bound_value(given: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Any, run: Any) -> Any:
    """Value of one input of a task.

    Args:
        given: Where it comes from: one of a task's `inputs.parameters` in the IR.
        inputs: Parameters of the group that the task is in.
        outputs: Output parameters of the group's tasks that ended, by task.
        run: Values of `{{$.pipeline_...}}`, by name.
    """
    if "componentInputParameter" in given:
        return inputs[given["componentInputParameter"]]
    if "taskOutputParameter" in given:
        wanted = given["taskOutputParameter"]
        return outputs[wanted["producerTask"]][wanted["outputParameterKey"]]
    value = given["runtimeValue"]["constant"]
    if isinstance(value, str):
        for name, text in run.items():
            value = value.replace(f"{{{{$.{name}}}}}", text)
    return value


def holds(condition: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a condition of the IR is true: a parameter equals, or does not equal, a text.

    Raises:
        ConfigError: Another expression.
    """
    found = _CONDITION.fullmatch(condition)
    if found is None:
        raise ConfigError(
            f"The condition {condition!r} of the compiled pipeline compares no parameter with a "
            "text: only Kubeflow evaluates it.",
            "Run it on Kubeflow: slimworks submit",
        )
    name, operator, text = found.groups()
    return (str(inputs[name]) == text) == (operator == "==")


class Values:
    """What the placeholders of one container stand for."""

    def __init__(
        self, component: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path
    ) -> None:
        """Takes a component of the IR, its parameters, and where its outputs go."""
        self._types = component.get("inputDefinitions", {}).get("parameters", {})
        self._outputs = component.get("outputDefinitions", {})
        self._folder = folder
        self._inputs = {
            key: int(value) if self._types.get(key, {}).get("parameterType") == _INTEGER else value
            for key, value in inputs.items()
        }

    def filled(self, text: str) -> str:
        """A text of the container with every placeholder replaced."""
        return _PLACEHOLDER.sub(self._one, text)

    def _one(self, found: re.Match[str]) -> str:
        side, name = found[1], found[3]
        if side is None:
            return json.dumps(self.executor_input(), ensure_ascii=False)
        if side == "outputs":
            return str(self._folder / name)
        value = self._inputs[name]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def executor_input(self) -> dict[str, Any]:
        """The ExecutorInput: parameters, and where outputs go."""
        artifacts = {
            name: {
                "artifacts": [
                    {"name": name, "uri": str(self._folder / name), "type": one["artifactType"]}
                ]
            }
            for name, one in self._outputs.get("artifacts", {}).items()
        }
        parameters = {
            name: {"outputFile": str(self._folder / name)}
            for name in self._outputs.get("parameters", {})
        }
        return {
            "inputs": {"parameterValues": self._inputs},
            "outputs": {
                "artifacts": artifacts,
                "parameters": parameters,
                "outputFile": str(self._folder / OUTPUT_FILE),
            },
        }

    def output_parameters(self) -> dict[str, Any]:
        """Output parameters that the container has written."""
        found: dict[str, Any] = {}
        for name, one in self._outputs.get("parameters", {}).items():
            path = self._folder / name
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                found[name] = text if one["parameterType"] == "STRING" else json.loads(text)
        return found
