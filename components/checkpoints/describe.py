"""What a checkpoint holds, and what to type to fine-tune from it."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from slimworks.components.checkpoints.identify import Match, identify
from slimworks.components.checkpoints.misfit import name_map_setting
from slimworks.components.checkpoints.names import AVERAGE_SUFFIX, variables_among
from slimworks.components.checkpoints.reading import Checkpoint, Shape, open_checkpoint
from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import REGISTRY

GLOBAL_STEP = "global_step"

# Sizes that checkpoints are published at; other numbers in a name are versions, widths, depths.
_PUBLISHED_SIZES = frozenset((96, 128, 160, 192, 224, 299, 331))


@dataclasses.dataclass(frozen=True)
class CheckpointDescription:
    """What `slimworks nets --checkpoint` says.

    Attributes:
        checkpoint: Prefix, as the trainer takes it.
        version: Format, V1 or V2.
        net: The registered network that comes nearest.
        fits: Most of its shapes are there: if not, the network is of another width or kind.
        num_variables: Of the network, auxiliary heads included.
        num_fitting: Of these, how many are there with the network's shapes.
        num_classes: Of the head; None where there is none.
        classes: What that number of classes means.
        name_map: `train.checkpoint_name_map` to use; empty where the names are the network's.
        num_averages: Variables that have an exponential moving average.
        slots: Optimizer slots: how many, by name.
        global_step: Steps that it was trained for; None where it is not said.
        image_size: In pixels, from the file's name; None where it has none.
        num_others: Variables that the network has not.
        command: Text to type to fine-tune from it; None where it does not fit.
    """

    checkpoint: str
    version: Literal["V1", "V2"]
    net: str
    fits: bool
    num_variables: int
    num_fitting: int
    num_classes: int | None
    classes: str
    name_map: Mapping[str, str]
    num_averages: int
    slots: Mapping[str, int]
    global_step: int | None
    image_size: int | None
    num_others: int
    command: str | None


def describe_checkpoint(
    path: str | os.PathLike[str], setting: str = "--checkpoint"
) -> CheckpointDescription:
    """Reads a whole checkpoint and says what it is of.

    Args:
        path: A checkpoint (prefix, V1 or V2 format) or a folder (its newest one).
        setting: What messages call the path's origin.

    Raises:
        ConfigError: There is none, it is damaged, or no registered network comes near.
    """
    checkpoint = open_checkpoint(path, setting)
    for name in checkpoint.shapes:
        checkpoint.read(name)  # finds data that is damaged or cut short
    match = identify(checkpoint.shapes)
    if match is None:
        raise _of_no_network(checkpoint)
    variables = variables_among(checkpoint.shapes)
    image_size = size_in_name(checkpoint.prefix)
    return CheckpointDescription(
        checkpoint=checkpoint.prefix,
        version=checkpoint.version,
        net=match.net,
        fits=match.fits,
        num_variables=match.num_variables,
        num_fitting=match.num_fitting,
        num_classes=match.num_classes,
        classes=meaning_of_classes(match.num_classes),
        name_map=match.name_map,
        num_averages=sum(name.endswith(AVERAGE_SUFFIX) for name in checkpoint.shapes),
        slots=count_slots(checkpoint.shapes, variables),
        global_step=_global_step(checkpoint),
        image_size=image_size,
        num_others=max(0, len(variables) - match.num_named),
        command=_command(checkpoint.prefix, match, image_size) if match.fits else None,
    )


def _of_no_network(checkpoint: Checkpoint) -> ConfigError:
    names = variables_among(checkpoint.shapes)
    counts = Counter(name.partition("/")[0] for name in names)
    roots = sorted(counts, key=lambda root: (-counts[root], root))[:3]
    return ConfigError(
        f"{checkpoint.prefix} is of no registered network: {len(names)} variables with names that "
        f"start with {', '.join(roots) or 'nothing'}.",
        "`slimworks nets` lists the networks; `slimworks nets NAME` prints the names of one.",
    )


def meaning_of_classes(num_classes: int | None) -> str:
    """Says in words what a number of classes stands for."""
    if num_classes is None:
        return "there is no head"
    if num_classes == 1001:
        return "ImageNet's 1000, with the background as class 0"
    if num_classes == 1000:
        return "ImageNet's 1000, without a background class: its labels are one lower"
    return "classes of its own"


def count_slots(stored: Mapping[str, Shape], variables: Sequence[str]) -> dict[str, int]:
    """Counts what is stored below variables, by slot name; averages are none."""
    known = set(variables)
    slots = (name.rpartition("/") for name in stored if not name.endswith(AVERAGE_SUFFIX))
    return dict(sorted(Counter(slot for owner, _, slot in slots if owner in known).items()))


def size_in_name(prefix: str) -> int | None:
    """Returns the image size that a checkpoint's or its folder's name states, in pixels."""
    path = Path(prefix)
    for name in (re.sub(r"-\d+$", "", path.name), path.parent.name):
        sizes = [int(n) for n in re.findall(r"(?<!\d)\d{2,3}(?!\d)", name)]
        known = [size for size in sizes if size in _PUBLISHED_SIZES]
        if known:
            return known[-1]
    return None


def _global_step(checkpoint: Checkpoint) -> int | None:
    return int(checkpoint.read(GLOBAL_STEP)) if GLOBAL_STEP in checkpoint.shapes else None


def _command(prefix: str, match: Match, image_size: int | None) -> str:
    settings = [
        f"--set model.net={match.net}",
        shlex.join(["--set", f"train.checkpoint_path={prefix}"]),
    ]
    spec = REGISTRY[match.net]
    if image_size not in (None, spec.default_image_size):
        settings.append(f"--set model.image_size={image_size}")
    if match.name_map:
        settings.append(name_map_setting(match.name_map))
    return " ".join(["slimworks run --data PHOTOS", *settings])
