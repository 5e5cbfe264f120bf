"""Resolves the baseline: the last blessed model other than the candidate itself.

Excluding the candidate keeps a repeated run a repeated run: with it, the second run would find
its own model as the new baseline, and nothing downstream could be reused.
"""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import channel, standard_artifacts

BLESSED = "blessed"
CURRENT_MODEL_ID = "current_model_id"  # TFX's own name for the model that a blessing is about


class BaselineStrategy(resolver.ResolverStrategy):
    """Keeps, of all models, the newest blessed one whose id is not the candidate's."""

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the same keys; `model` and `blessing` hold one artifact or none."""
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        blessings = {
            blessing.get_int_custom_property(CURRENT_MODEL_ID): blessing
            for blessing in input_dict["blessing"]
            if blessing.get_int_custom_property(BLESSED) == 1
        }
        eligible = [
            model
            for model in input_dict["model"]
            if model.id in blessings and model.id not in candidates
        ]
        newest = max(eligible, key=lambda model: model.id, default=None)
        return {
            "candidate": input_dict["candidate"],
            "model": [newest] if newest else [],
            "blessing": [blessings[newest.id]] if newest else [],
        }


def baseline_resolver(candidate: channel.BaseChannel) -> resolver.Resolver:
    """Returns the resolver node; its output `model` may be empty (first run)."""
    return resolver.Resolver(
        strategy_class=BaselineStrategy,
        candidate=candidate,
        model=channel.Channel(type=standard_artifacts.Model),
        blessing=channel.Channel(type=standard_artifacts.ModelBlessing),
    )
