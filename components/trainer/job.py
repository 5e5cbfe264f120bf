"""A training as a file, for the processes that take part in it. Importable without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig

JOB_FILE = "training.json"  # in the work folder


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """The arguments of `train`; every process must see its folders under the same paths.

    Attributes:
        inputs: Fields of TrainInputs.
        output_dir: For the chief's results.
        work_dir: Unfinished work of the chief.
        model: Network and input size.
        config: Training settings.
        export: What the exported model answers.
    """

    inputs: Mapping[str, str]
    output_dir: str
    work_dir: str
    model: ModelConfig
    config: TrainConfig
    export: ExportConfig

    @property
    def path(self) -> Path:
        """Where `write` puts it."""
        return Path(self.work_dir) / JOB_FILE

    def write(self) -> Path:
        """Writes the file into the work folder; returns its path."""
        value = {
            "inputs": {name: str(Path(path).resolve()) for name, path in self.inputs.items()},
            "output_dir": str(Path(self.output_dir).resolve()),
            "work_dir": str(Path(self.work_dir).resolve()),
            "model": self.model.model_dump(mode="json"),
            "config": self.config.model_dump(mode="json"),
            "export": self.export.model_dump(mode="json"),
        }
        files.write_json(self.path, value)
        return self.path

    @classmethod
    def read(cls, path: str) -> TrainingJob:
        """Reads what `write` has written.

        Raises:
            ConfigError: There is no such file.
        """
        if not Path(path).is_file():
            raise ConfigError(
                f"There is no {path}.", f"Start the chief first: it writes {JOB_FILE}."
            )
        value = files.read_json(path)
        return cls(
            inputs=value["inputs"],
            output_dir=value["output_dir"],
            work_dir=value["work_dir"],
            model=ModelConfig.model_validate(value["model"]),
            config=TrainConfig.model_validate(value["config"]),
            export=ExportConfig.model_validate(value["export"]),
        )
