"""The record that holds all that must agree about one network. Importable without TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Literal

Family = Literal["inception", "vgg", "cifarnet", "lenet"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetSpec:
    """What is known of one network.

    Attributes:
        name: TF-Slim's factory name, or MODULE:FUNCTION of a user's own network.
        module: Module that holds the functions; imported only when the network is built.
        function: Name of the build function.
        arg_scope: Name of the function that returns the arg scope.
        scope: Root of the variable names; "" for NASNet and PNASNet, which have none.
        head_scopes: Prefixes of the variables that depend on the class count, auxiliary heads
            included; the whole auxiliary head, as TF-Slim's users exclude it.
        embedding_end_point: The last activation before the head.
        preprocessing: Family of the preprocessing that the network was published with.
        default_image_size: Height and width in pixels.
        min_image_size: Smallest height and width in pixels that can be trained.
        min_image_size_without_auxiliary: As above without the auxiliary head, where that needs
            larger images than the rest.
        num_channels: Of the input.
        parameters: Number of trainable parameters at `num_classes`.
        macs: Multiply-accumulates of one image's logits at `num_classes` and `default_image_size`.
        num_classes: Of the published checkpoint and the layout.
        labels_offset: 1 where the published checkpoint has no background class, else 0.
        batch_norm_decay: Default decay of the moving averages; None without batch norm.
        has_drop_path: The build function takes `current_step`, which drop path grows with.
        checkpoint_url: Archive with the published weights.
        published_image_size: Size that top1 and top5 were measured at, where it is not the
            default.
        top1: Published ImageNet accuracy in percent.
        top5: As top1, label among the first five.
        note: What the figures above do not say.
    """

    name: str
    module: str
    function: str
    arg_scope: str
    scope: str
    head_scopes: tuple[str, ...]
    embedding_end_point: str
    preprocessing: Family
    default_image_size: int
    min_image_size: int
    min_image_size_without_auxiliary: int | None = None
    num_channels: int = 3
    parameters: int
    macs: int
    num_classes: int
    labels_offset: int = 0
    batch_norm_decay: float | None = None
    has_drop_path: bool = False
    checkpoint_url: str | None = None
    published_image_size: int | None = None
    top1: float | None = None
    top5: float | None = None
    note: str = ""

    @property
    def checkpoint_file(self) -> str | None:
        """Name of the archive that `checkpoint_url` points to."""
        return self.checkpoint_url.rpartition("/")[2] if self.checkpoint_url else None


DOWNLOADS = "http://download.tensorflow.org/models"
STORAGE = "https://storage.googleapis.com"


def module_of(name: str) -> str:
    """Returns the full name of a module of networks: "resnet_v1", "mobilenet.mobilenet_v2"."""
    return f"slimworks.components.nets.{name}"
