"""What is exported: a network, its checkpoint, its classes, and how images become its input."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from slimworks.components import contracts, formats
from slimworks.components.checkpoints.describe import size_in_name
from slimworks.components.checkpoints.fingerprints import below_root, start_of
from slimworks.components.checkpoints.identify import Match, identify, network_shapes
from slimworks.components.checkpoints.reading import Shape, open_checkpoint, resolve
from slimworks.components.errors import ConfigError, DataError, nearest
from slimworks.components.export.labels import read_labels
from slimworks.components.nets.own_nets import is_own
from slimworks.components.nets.registry import REGISTRY, get_net
from slimworks.components.nets.spec import NetSpec
from slimworks.components.preprocessing import decoding, geometry
from slimworks.components.preprocessing.families import get_preprocessing

_SETTING = "--checkpoint"
_PARALLEL_IMAGES = 16
_NUM_EXAMPLES = 3  # names in a message


@dataclasses.dataclass(frozen=True)
class ExportSource:
    """A network with its weights, ready for export.

    Attributes:
        spec: The network.
        checkpoint_path: Prefix of a V1 or V2 checkpoint.
        class_names: By class index; their number is the size of the head.
        image_size: Side of the network's input in pixels.
        num_channels: Of the network's input, 1 or 3.
        preprocessing: Family.
        stored_size: Side of the stored images that the network was trained on by our pipeline;
            None: TF-Slim's own evaluation preprocessing.
        name_map: Start of the checkpoint's names -> start of the network's, where they differ.
        temperature: That logits are divided by before they become probabilities.
    """

    spec: NetSpec
    checkpoint_path: str
    class_names: tuple[str, ...]
    image_size: int
    num_channels: int
    preprocessing: str
    stored_size: int | None = None
    name_map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    temperature: float = 1.0

    @property
    def num_classes(self) -> int:
        """K, the size of the head."""
        return len(self.class_names)

    @tf.autograph.experimental.do_not_convert  # converting takes seconds and changes nothing
    def image_to_pixels(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes and preprocesses one image: string [] -> float32 [S, S, C]."""
        family = get_preprocessing(self.preprocessing)
        if self.stored_size is not None:
            stored = family.to_stored(encoded, self.stored_size, self.num_channels)
            return family.for_eval(stored[tf.newaxis], self.image_size)[0]
        image = decoding.decode_image(encoded, self.num_channels)
        pixels = family.preprocess_for_eval(image, self.image_size, self.image_size)
        return tf.ensure_shape(pixels, [self.image_size, self.image_size, self.num_channels])

    def images_to_pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Decodes and preprocesses: string [N] -> float32 [N, S, S, C]."""
        shape = [self.image_size, self.image_size, self.num_channels]
        return tf.map_fn(
            self.image_to_pixels,
            images,
            fn_output_signature=tf.TensorSpec(shape, tf.float32),
            parallel_iterations=_PARALLEL_IMAGES,
        )

    def facts(self) -> dict[str, Any]:
        """What a model's facts say about it, under the trainer's keys."""
        return {
            "net": self.spec.name,
            "image_size": self.image_size,
            "stored_size": self.stored_size,
            "num_channels": self.num_channels,
            "preprocessing": self.preprocessing,
            "class_names": list(self.class_names),
            "checkpoint_path": self.checkpoint_path,
            "temperature": self.temperature,
        }


def from_checkpoint(
    checkpoint_path: str | os.PathLike[str],
    *,
    net: str | None = None,
    image_size: int | None = None,
    use_grayscale: bool | None = None,
    preprocessing_name: str | None = None,
    labels: str | os.PathLike[str] | None = None,
) -> ExportSource:
    """Describes a TF-Slim checkpoint: its head tells the number of classes.

    Args:
        checkpoint_path: A checkpoint (prefix or file) or a folder (its newest one).
        net: Network, also MODULE:FUNCTION of a user's own; None: the one that the checkpoint's
            variables belong to.
        image_size: Side of the network's input in pixels; None: the one that the checkpoint's
            name states ("mobilenet_v1_0.25_128"), else the network's published one.
        use_grayscale: One channel instead of three; None: the network's own number.
        preprocessing_name: A family or a network's name; None: the network's own family.
        labels: File of class names; None: the class indices as text.

    Raises:
        ConfigError: Something of this does not exist or does not fit.
    """
    checkpoint = open_checkpoint(checkpoint_path, _SETTING)
    shapes = network_shapes(checkpoint.shapes)
    spec, match = _net(net, shapes, checkpoint.prefix, image_size)
    root = match.root if match else spec.scope
    num_classes = _num_classes(spec, root, shapes, checkpoint.prefix)
    names = tuple(str(index) for index in range(num_classes))
    is_grey = spec.num_channels == 1 if use_grayscale is None else use_grayscale
    return ExportSource(
        spec=spec,
        checkpoint_path=checkpoint.prefix,
        class_names=names if labels is None else read_labels(labels, num_classes),
        image_size=_image_size(spec, image_size, checkpoint.prefix),
        num_channels=1 if is_grey else 3,
        preprocessing=_family(spec, preprocessing_name),
        name_map=match.name_map if match else {},
    )


def from_model(model: str | os.PathLike[str]) -> ExportSource:
    """Describes a model that `slimworks train` wrote: its checkpoint and facts.

    Raises:
        DataError: The folder has no model.json.
        ConfigError: It has no checkpoint.
    """
    folder = Path(model)
    class_names = contracts.read_class_names(folder)
    facts = formats.read(folder / contracts.MODEL_FACTS_FILE)
    if not (folder / contracts.CHECKPOINTS_FOLDER).is_dir():
        raise DataError(
            f"{folder / contracts.CHECKPOINTS_FOLDER} does not exist.",
            "Give a folder written by `slimworks train`.",
        )
    family, image_size = facts["preprocessing"], facts["image_size"]
    return ExportSource(
        spec=get_net(facts["net"], image_size),
        checkpoint_path=resolve(folder / contracts.CHECKPOINTS_FOLDER),
        class_names=class_names,
        image_size=image_size,
        num_channels=facts["num_channels"],
        preprocessing=family,
        stored_size=facts.get("stored_size") or geometry.stored_size(family, image_size),
        temperature=facts.get("calibration", {}).get("temperature", 1.0),
    )


def _net(
    net: str | None, shapes: Mapping[str, Shape], prefix: str, image_size: int | None
) -> tuple[NetSpec, Match | None]:
    """The network, and what matches of the checkpoint if it is of that network's family."""
    if net is not None and is_own(net):
        return get_net(net, image_size), None
    if net is not None and net not in REGISTRY:
        raise ConfigError(
            f"--net {net} is no known network.{nearest(net, REGISTRY)}",
            "`slimworks nets` lists the networks; without --net the checkpoint tells it.",
        )
    match = identify(shapes)
    if match is None and net is None:
        starts = sorted({name.partition("/")[0] for name in shapes})[:_NUM_EXAMPLES]
        raise ConfigError(
            f"{prefix} belongs to no known network: its names start with {', '.join(starts)}.",
            "Name the network with --net; `slimworks nets` lists them.",
        )
    if match is not None and net not in (None, match.net):
        _check_is_not(match, net, prefix)
    spec = REGISTRY[net or (match.net if match else "")]
    is_alike = match is not None and REGISTRY[match.net].scope == spec.scope
    return spec, match if is_alike else None


def _check_is_not(match: Match, net: str | None, prefix: str) -> None:
    """No two networks have one layout: a checkpoint that is all of one is none of another."""
    if match.num_fitting == match.num_variables:
        raise ConfigError(
            f"{prefix} is a checkpoint of {match.net}, not of {net}.",
            f"Type `--net {match.net}`, or leave --net out.",
        )


def _num_classes(spec: NetSpec, root: str, shapes: Mapping[str, Shape], prefix: str) -> int:
    """The main head comes first among the scopes; it has one vector of biases."""
    head = start_of(root) + below_root(spec.head_scopes[0], spec.scope)
    biases = [s for n, s in shapes.items() if n.startswith(head) and n.endswith("/biases")]
    if len(biases) != 1:
        raise ConfigError(
            f"{prefix} has no head of {spec.name}: no biases below {head}.",
            "Name the checkpoint's own network with --net, or give a checkpoint with its head.",
        )
    return biases[0][-1]


def _image_size(spec: NetSpec, image_size: int | None, prefix: str) -> int:
    if image_size is None:
        named = size_in_name(prefix) or 0
        return named if named >= spec.min_image_size else spec.default_image_size
    if image_size < spec.min_image_size:
        raise ConfigError(
            f"--image-size is {image_size}, but {spec.name} needs at least {spec.min_image_size} "
            "pixels.",
            f"Type `--image-size {spec.default_image_size}`, the published size.",
        )
    return image_size


def _family(spec: NetSpec, name: str | None) -> str:
    if name is None:
        return spec.preprocessing
    known = REGISTRY[name].preprocessing if name in REGISTRY else name
    if known not in geometry.FAMILIES:
        raise ConfigError(
            f"--preprocessing-name {name} is no known preprocessing."
            f"{nearest(name, (*geometry.FAMILIES, *REGISTRY))}",
            f"Choose one of {', '.join(geometry.FAMILIES)}, or a network whose way you want.",
        )
    return known
