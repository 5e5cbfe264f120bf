"""Resolves the baseline: the last blessed model other than the candidate itself.

Excluding the candidate keeps a repeated run a repeated run: with it, the second run would find
its own model as the new baseline, and nothing downstream could be reused.
"""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio
from tfx.types import channel, standard_artifacts

BLESSED = "blessed"
CURRENT_MODEL_ID = "current_model_id"  # TFX's own name for the model that a blessing is about


class BaselineStrategy(resolver.ResolverStrategy):
    """Keeps, of all models but the candidate, the one that the gate blessed last."""

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the same keys; `model` and `blessing` hold one artifact or none."""
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        models = {
            model.id: model
            for model in input_dict["model"]
            # A model whose folder somebody removed can be compared with no more.
            if model.id not in candidates and fileio.exists(model.uri)
        }
        # By model, the last word of the gate: a later refusal takes a blessing back.
        verdicts: dict[int, types.Artifact] = {}
        for blessing in sorted(input_dict["blessing"], key=lambda artifact: artifact.id):
            verdicts[blessing.get_int_custom_property(CURRENT_MODEL_ID)] = blessing
        blessings = [
            blessing
            for model_id, blessing in verdicts.items()
            if model_id in models and blessing.get_int_custom_property(BLESSED) == 1
        ]
        newest = max(blessings, key=lambda artifact: artifact.id, default=None)
        if newest is None:
            return {"candidate": input_dict["candidate"], "model": [], "blessing": []}
        return {
            "candidate": input_dict["candidate"],
            "model": [models[newest.get_int_custom_property(CURRENT_MODEL_ID)]],
            "blessing": [newest],
        }


def baseline_resolver(candidate: channel.BaseChannel) -> resolver.Resolver:
    """Returns the resolver node; its output `model` may be empty (first run)."""
    return resolver.Resolver(
        strategy_class=BaselineStrategy,
        candidate=candidate,
        model=channel.Channel(type=standard_artifacts.Model),
        blessing=channel.Channel(type=standard_artifacts.ModelBlessing),
    )
