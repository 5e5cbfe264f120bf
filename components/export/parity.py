"""How far an export's probabilities are from its checkpoint's, as a table and as a condition."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from slimworks.components.errors import ServingError

# Rounding in another order of operations gives up to 1e-5 on deep networks.
BOUND = 1e-4
# TensorFlow Lite multiplies batch norm into the weights and has kernels of its own.
TFLITE_BOUND = 1e-3


@dataclasses.dataclass(frozen=True)
class Parity:
    """One export compared with its checkpoint.

    Attributes:
        artifact: What was run.
        max_difference: Largest |difference| of a probability over images and classes.
        num_agreeing: Images with the same most probable class.
        num_images: Images compared.
        worst_image: Where the largest difference is.
        bound: What max_difference may be.
    """

    artifact: str
    max_difference: float
    num_agreeing: int
    num_images: int
    worst_image: str
    bound: float

    @property
    def is_within_bound(self) -> bool:
        """False for NaN too."""
        return self.max_difference <= self.bound

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def compare(
    artifact: str,
    probabilities: np.ndarray,
    reference: np.ndarray,
    image_names: Sequence[str],
    *,
    class_index: np.ndarray | None = None,
    bound: float = BOUND,
) -> Parity:
    """Compares probabilities with the checkpoint's.

    Args:
        artifact: What was run.
        probabilities: [N, k].
        reference: The checkpoint's [N, K].
        image_names: N names.
        class_index: [N, k], the classes of `probabilities`, most probable first; None: k is K and
            the classes are in order.
        bound: Largest difference allowed.
    """
    if class_index is None:
        expected, top = reference, probabilities.argmax(axis=-1)
    else:
        expected = np.take_along_axis(reference, class_index, axis=-1)
        top = class_index[:, 0]
    differences = np.abs(probabilities.astype(np.float64) - expected).max(axis=-1)
    worst = int(np.argmax(differences))  # of NaN, if there is one
    return Parity(
        artifact=artifact,
        max_difference=float(differences[worst]),
        num_agreeing=int(np.count_nonzero(top == reference.argmax(axis=-1))),
        num_images=len(reference),
        worst_image=image_names[worst],
        bound=bound,
    )


def check(rows: Sequence[Parity]) -> None:
    """Stops an export that differs from its checkpoint.

    Raises:
        ServingError: A row is outside its bound.
    """
    for row in rows:
        if not row.is_within_bound:
            raise ServingError(
                f"{row.artifact} is not the checkpoint: on {row.worst_image} a probability differs "
                f"by {row.max_difference:.2g}, the bound is {row.bound:g}. Nothing was written.",
                "Check the checkpoint with `slimworks nets --checkpoint FILE`; type "
                "`TF_ENABLE_ONEDNN_OPTS=0 slimworks ...` to leave this processor's quick kernels "
                "out.",
            )


def table(rows: Sequence[Parity]) -> str:
    """The rows as text for people."""
    width = max(len("against the checkpoint"), *(len(row.artifact) for row in rows))
    lines = [f"{'against the checkpoint':<{width}}  {'max |dp|':>8}  top-1 agreement"]
    lines += [
        f"{row.artifact:<{width}}  {row.max_difference:>8.1e}  "
        f"{row.num_agreeing} of {row.num_images} images"
        for row in rows
    ]
    return "\n".join(lines)
