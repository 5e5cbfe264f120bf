"""What a user is told when a replay refuses a candidate."""

from __future__ import annotations

from collections.abc import Sequence

from slimworks.components.errors import ServingError
from slimworks.components.replay.bounds import REPEAT_TOLERANCE, Bound
from slimworks.components.replay.comparison import Mismatch

_MAX_SHOWN = 3


def refusal(
    failures: Sequence[Bound],
    mismatches: Sequence[Mismatch],
    num_images: int,
    tolerance: float,
    unstable_filename: str,
) -> ServingError:
    """The error for bounds that are not met, the most telling one first.

    Args:
        failures: Bounds that are not met, at least one.
        mismatches: Images that are served otherwise than evaluated.
        num_images: Images sent.
        tolerance: Largest difference of a probability allowed.
        unstable_filename: Image with the largest difference between two answers.
    """
    by_name = {bound.name: bound for bound in failures}
    if (repeat := by_name.get("repeat_difference")) is not None:
        return _changing(repeat, unstable_filename)
    if mismatches:
        return _different(mismatches, num_images, tolerance)
    return _heavier(failures)


def _changing(bound: Bound, filename: str) -> ServingError:
    value = "not a number" if bound.value is None else f"{bound.value:.3g}"
    return ServingError(
        f"{filename} is answered differently when it is asked twice: the probabilities differ by "
        f"up to {value}, {REPEAT_TOLERANCE:g} is allowed; nothing is pushed.",
        "Something in the graph is random or remembers: export the model again with this version "
        "of SlimWorks (slimworks run --no-cache=trainer).",
    )


def _different(mismatches: Sequence[Mismatch], num_images: int, tolerance: float) -> ServingError:
    shown = [mismatch.sentence(tolerance) for mismatch in mismatches[:_MAX_SHOWN]]
    return ServingError(
        f"{len(mismatches)} of {num_images} replayed images are served otherwise "
        f"than evaluated; nothing is pushed. {'; '.join(shown)}.",
        "Export the model again with this version of SlimWorks (slimworks run "
        "--no-cache=trainer), or raise serving.replay_tolerance "
        f"(now {tolerance:g}) if such differences do no harm.",
    )


def _heavier(failures: Sequence[Bound]) -> ServingError:
    shown = []
    for bound in failures:
        value = "unknown" if bound.value is None else f"{bound.value:g}"
        baseline = "" if bound.baseline is None else f", the baseline's is {bound.baseline:g}"
        limit = "" if bound.limit is None else f", {bound.limit:g} is allowed"
        shown.append(f"{bound.name} is {value}{limit} ({bound.reason}){baseline}")
    return ServingError(
        f"The candidate costs more to serve than it may; nothing is pushed. {'; '.join(shown)}.",
        "Choose a smaller network or image size; or, if the cost is meant, raise "
        "serving.replay_max_latency_ratio, serving.replay_max_latency_ms, "
        "serving.replay_max_memory_ratio or serving.replay_max_memory_mb.",
    )
