"""Settings of serving: what the exported signature answers and how the replay judges it."""

from __future__ import annotations

from typing import Literal

import pydantic

from slimworks.components.errors import ConfigError
from slimworks.components.settings import Settings


class ServingConfig(Settings):
    """The `serving` section of pipeline.yaml."""

    model_name: str | None = pydantic.Field(
        default=None,
        min_length=1,
        pattern=r"^[A-Za-z0-9_.-]+$",  # it stands in REST paths and in metric labels
        description="Name that clients ask for. Default: the pipeline's name.",
    )
    top_k: int | None = pydantic.Field(
        default=None,
        ge=1,
        description="Classes in an answer. Default: five, or all where there are fewer.",
    )
    min_probability: float = pydantic.Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="`is_known` is false where the best probability is below this.",
    )
    temperature_scaling: bool = pydantic.Field(
        default=True,
        description="Calibrate probabilities by a temperature fitted on the eval split.",
    )
    min_precision: float | None = pydantic.Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="`is_known` is false where the best probability is too small for answers of "
        "that class to be right this often (lower Wilson bound on the eval split). Default: any.",
    )
    # docs/calibration.md: on flower classifiers it told blood cells, digits and other photos best.
    known_by: Literal["probability", "energy", "distance", "none"] = pydantic.Field(
        default="distance",
        description="How `is_known` tells images unlike the training images: by the best "
        "probability, the energy of the logits, or the distance of the embedding to the nearest "
        "class mean; none: it does not.",
    )
    known_rate: float = pydantic.Field(
        default=0.99,
        gt=0.0,
        le=1.0,
        description="Fraction of the eval images that `known_by` lets pass.",
    )
    replay_num_images: int = pydantic.Field(
        default=64,  # under ten seconds of single requests for every network but vgg on two cores
        ge=1,
        le=10_000,
        description="Test images sent through the loaded candidate before a push.",
    )
    # Export and evaluation agree to 3e-5 for the same bytes; skewed preprocessing shows as 1e-2.
    replay_tolerance: float = pydantic.Field(
        default=1e-3,
        gt=0.0,
        le=1.0,
        description="Largest difference of a probability, served against offline.",
    )
    replay_timeout_seconds: float = pydantic.Field(
        default=120.0,  # loading vgg_16 and tracing its first request takes 20 s on two busy cores
        gt=0.0,
        description="Time for the candidate to become AVAILABLE, and for each request.",
    )
    # A heavier network may be meant; one three times as slow is worth a question.
    replay_max_latency_ratio: float = pydantic.Field(
        default=3.0,
        gt=0.0,
        description="The candidate's latency (p50 and p99), at most so many times the baseline's, "
        "measured side by side; p99 from 100 images on. Below 250 ms nothing is refused for it.",
    )
    replay_max_memory_ratio: float = pydantic.Field(
        default=2.0,
        gt=0.0,
        description="Peak memory of the candidate's server, at most so many times the baseline's. "
        "Below 1 GB nothing is refused for it.",
    )
    replay_max_latency_ms: float | None = pydantic.Field(
        default=None,
        gt=0.0,
        description="Largest p99 of the latency of one image, with or without a baseline.",
    )
    replay_max_memory_mb: float | None = pydantic.Field(
        default=None,
        gt=0.0,
        description="Largest peak memory of the candidate's server, with or without a baseline.",
    )
    replay_server: str | None = pydantic.Field(
        default=None,
        pattern=r"^\S+:\S+$",
        description="host:port (gRPC) of a server that has loaded the candidate as "
        "`serving.model_name`, such as TensorFlow Serving's own. Default: one is started.",
    )
    replay_rest_server: str | None = pydantic.Field(
        default=None, pattern=r"^\S+:\d+$", description="host:port of its REST interface."
    )

    @pydantic.model_validator(mode="after")
    def _rest_of_a_server(self) -> ServingConfig:
        if self.replay_rest_server is not None and self.replay_server is None:
            raise ConfigError(
                "serving.replay_rest_server is set, but serving.replay_server is not.",
                "Set serving.replay_server to the gRPC address of the same server.",
            )
        return self
