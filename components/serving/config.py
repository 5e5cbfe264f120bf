"""Settings of serving: what the exported signature answers and how the replay judges it."""

from __future__ import annotations

import pydantic

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
        description="`is_known` is true when the best probability reaches this.",
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
