"""SlimWorks: labelled photos in, a gated TF-Slim model behind TensorFlow Serving out.

run = slimworks.run(data="photos/")
model = slimworks.load(run)
model.predict(["cat.jpg"])[0].class_name
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slimworks.components.errors import SlimWorksError as SlimWorksError
    from slimworks.pipeline.api import Run as Run
    from slimworks.pipeline.api import Step as Step
    from slimworks.pipeline.api import load as load
    from slimworks.pipeline.api import run as run
    from slimworks.pipeline.trained_model import Evaluation as Evaluation
    from slimworks.pipeline.trained_model import Prediction as Prediction
    from slimworks.pipeline.trained_model import TrainedModel as TrainedModel

__version__ = "0.1.0"
__all__ = [
    "Evaluation", "Prediction", "Run", "SlimWorksError", "Step", "TrainedModel", "load", "run",
]  # fmt: skip

_MODULES = {
    "Run": "pipeline.api",
    "Step": "pipeline.api",
    "load": "pipeline.api",
    "run": "pipeline.api",
    "Evaluation": "pipeline.trained_model",
    "Prediction": "pipeline.trained_model",
    "TrainedModel": "pipeline.trained_model",
    "SlimWorksError": "components.errors",
}


def __getattr__(name: str) -> Any:
    """Loads what is used: the client, the command line and `--help` need none of it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
