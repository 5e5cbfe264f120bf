"""Settings of the replay: those of the `serving` section that it depends on."""

from __future__ import annotations

import pydantic

from slimworks.components.serving.config import ServingConfig
from slimworks.components.settings import Settings

OWN_MODEL_NAME = "candidate"


class ReplaySettings(Settings):
    """What the replay depends on, and no more: other serving settings keep its cache."""

    num_images: int = pydantic.Field(
        ge=1, description="Test images sent through the loaded candidate."
    )
    tolerance: float = pydantic.Field(
        gt=0.0, le=1.0, description="Largest difference of a probability, served against offline."
    )
    timeout_seconds: float = pydantic.Field(
        gt=0.0, description="Time for the candidate to become AVAILABLE, and for each request."
    )

    max_latency_ratio: float = pydantic.Field(
        default=3.0,
        gt=0.0,
        description="Latency p50 and p99, at most so many times the baseline's.",
    )
    max_memory_ratio: float = pydantic.Field(
        default=2.0, gt=0.0, description="Peak memory, at most so many times the baseline's."
    )
    max_latency_ms: float | None = pydantic.Field(
        default=None, gt=0.0, description="Largest p99 of the latency, whatever the baseline's."
    )
    max_memory_mb: float | None = pydantic.Field(
        default=None, gt=0.0, description="Largest peak memory, whatever the baseline's."
    )
    server: str | None = pydantic.Field(
        default=None, description="gRPC address of a server that runs already; null: our own."
    )
    rest_server: str | None = pydantic.Field(
        default=None, description="REST address of the same server."
    )
    model_name: str = pydantic.Field(
        default=OWN_MODEL_NAME, description="Name of the model on that server."
    )

    @classmethod
    def of(cls, serving: ServingConfig) -> ReplaySettings:
        """Picks them from the `serving` section, which holds their defaults and reasons."""
        has_server = serving.replay_server is not None
        return cls(
            num_images=serving.replay_num_images,
            tolerance=serving.replay_tolerance,
            timeout_seconds=serving.replay_timeout_seconds,
            max_latency_ratio=serving.replay_max_latency_ratio,
            max_memory_ratio=serving.replay_max_memory_ratio,
            max_latency_ms=serving.replay_max_latency_ms,
            max_memory_mb=serving.replay_max_memory_mb,
            server=serving.replay_server,
            rest_server=serving.replay_rest_server,
            model_name=(has_server and serving.model_name) or OWN_MODEL_NAME,
        )
