"""A user's own network function: imported, bound to an arg scope, and checked as it is called."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import tensorflow as tf

from slimworks.components.errors import ConfigError, SlimWorksError, nearest
from slimworks.components.nets import own_nets
from slimworks.components.nets.own_nets import OwnNet
from slimworks.components.nets.slim import slim
from slimworks.components.nets.spec import Family

DEFAULT_IMAGE_SIZE, DEFAULT_NUM_CLASSES = 224, 1000  # as TF-Slim's networks have them
EMBEDDING = "embedding"  # end point that every own network gets

_WEIGHTED = ("BatchMatMulV2", "Conv2D", "DepthwiseConv2dNative", "Einsum", "MatMul")
_CALL = "(images, num_classes, is_training)"
_SHOWN_FRAMES = 5


@dataclasses.dataclass(frozen=True)
class OwnNetwork:
    """A function of a user's module, as TF-Slim's network functions are.

    Attributes:
        net: Where it is.
        function: images [N, H, W, C], num_classes, is_training -> (logits [N, K], end points).
        make_arg_scope: Arg scope by weight_decay; None: `default_arg_scope`.
        files: Of the user's code, for messages.
    """

    net: OwnNet
    function: Callable[..., Any]
    make_arg_scope: Callable[..., Any] | None
    files: frozenset[str]

    @property
    def image_size(self) -> int:
        """Height and width in pixels that it is made for."""
        return self._whole_number("default_image_size", DEFAULT_IMAGE_SIZE)

    @property
    def num_channels(self) -> int:
        """Of its images."""
        return self._whole_number("num_channels", 3)

    @property
    def num_classes(self) -> int:
        """K where none is given."""
        default = inspect.signature(self.function).parameters["num_classes"].default
        return default if isinstance(default, int) and default > 1 else DEFAULT_NUM_CLASSES

    @property
    def preprocessing(self) -> Family:
        """Family of the preprocessing."""
        family = getattr(self.function, "preprocessing", "inception")
        known = typing.get_args(Family)
        if family not in known:
            raise ConfigError(
                f"{self.net.name} has preprocessing {family!r}, which is no known family."
                f"{nearest(str(family), known)}",
                f"Choose one of {', '.join(known)}, or leave {self.net.function}.preprocessing "
                "out for inception.",
            )
        return typing.cast(Family, family)

    def _whole_number(self, attribute: str, default: int) -> int:
        value = getattr(self.function, attribute, default)
        if not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"{self.net.name} has {attribute} {value!r}, expected a whole number above 0.",
                f"Set {self.net.function}.{attribute} below the function, or leave it out.",
            )
        return value

    def arg_scope(
        self, weight_decay: float, is_training: bool, batch_norm_decay: float | None
    ) -> dict[str, Any]:
        """The network's own arg scope, or the default one, on top of what holds for all.

        Batch norm and dropout get `is_training`, and batch norm its decay, where the network says
        nothing else.
        """
        with slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training):
            scope = self._scope(weight_decay)
        if batch_norm_decay is not None:
            with slim.arg_scope(scope), slim.arg_scope([slim.batch_norm], decay=batch_norm_decay):
                scope = slim.current_arg_scope()
        return scope

    def stated_batch_norm_decay(self) -> float | None:
        """Decay of the moving averages that its arg scope states."""
        return _decay_in(self.arg_scope(0.0, True, None))

    def _scope(self, weight_decay: float) -> dict[str, Any]:
        if self.make_arg_scope is None:
            return default_arg_scope(weight_decay)
        outer = slim.current_arg_scope()
        try:
            scope = self.make_arg_scope(weight_decay=weight_decay)
        except Exception as error:
            raise self._raised(error, "while its arg scope is made") from None
        if not isinstance(scope, dict):
            raise ConfigError(
                f"The arg scope of {self.net.name} is {_kind(scope)}, expected what slim.arg_scope "
                "gives.",
                "Return it from the function: with slim.arg_scope(...) as scope: return scope",
            )
        return {**outer, **scope}

    def build(
        self, images: tf.Tensor, num_classes: int, is_training: bool, **options: Any
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Builds the network and checks what it returns; `EMBEDDING` is added to the end points.

        Raises:
            ConfigError: It raises, or returns something else than logits and end points.
        """
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for verbs' results
                result = self.function(
                    images, num_classes=num_classes, is_training=is_training, **options
                )
        except SlimWorksError:
            raise
        except Exception as error:
            size = "x".join("?" if side is None else str(side) for side in images.shape[1:3])
            while_ = f"while it is built for {size} pixels and {num_classes} classes"
            raise self._raised(error, while_) from None
        logits, end_points = self._checked(result, num_classes)
        found = {str(name): tensor for name, tensor in end_points.items()}
        return logits, {**found, EMBEDDING: found.get(EMBEDDING, _before_head(logits))}

    def _checked(self, result: Any, num_classes: int) -> tuple[tf.Tensor, Mapping[str, Any]]:
        is_pair = isinstance(result, (tuple, list)) and len(result) == 2
        if not is_pair or not tf.is_tensor(result[0]) or not isinstance(result[1], Mapping):
            what = f"({', '.join(_kind(part) for part in result)})" if is_pair else _kind(result)
            raise ConfigError(
                f"{self.net.name} returns {what}, expected (logits, end_points).",
                "Return the tensor of the logits and a dict of activations by name: "
                "return net, end_points",
            )
        logits, end_points = result
        shape = logits.shape
        if shape.rank != 2 or shape[1] != num_classes or logits.dtype != tf.float32:
            raise ConfigError(
                f"{self.net.name} returns logits {logits.dtype.name} of shape {shape}, expected "
                f"float32 [images, {num_classes}].",
                "Give the last layer num_classes outputs; a map of them is averaged by "
                "tf.reduce_mean(net, [1, 2]), one of a pixel loses its sides by "
                "tf.squeeze(net, [1, 2]).",
            )
        return logits, end_points

    def _raised(self, error: Exception, while_: str) -> ConfigError:
        message = next(iter(str(error).strip().splitlines()), "no message")
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if str(Path(frame.filename).resolve()) in self.files
        ]
        where = f"line {frames[-1].lineno} of {frames[-1].filename}" if frames else "its call"
        return ConfigError(
            f"{self.net.name} raises {type(error).__name__} {while_} ({where}): {message}",
            f"Mend it; `slimworks nets {self.net.name}` builds it at its own size. Images of "
            "another size: `--set model.image_size=...`.",
            "\n".join(
                f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
                for frame in frames[-_SHOWN_FRAMES:]
            ),
        )


def default_arg_scope(weight_decay: float) -> dict[str, Any]:
    """Weight decay on the weights of all layers that TF-Slim's own arg scopes put it on."""
    layers = [slim.conv2d, slim.fully_connected, slim.separable_conv2d]
    with slim.arg_scope(layers, weights_regularizer=slim.l2_regularizer(weight_decay)) as scope:
        return scope


_loaded: dict[str, tuple[str, OwnNetwork]] = {}


def load(name: str) -> OwnNetwork:
    """Imports a user's own network; anew where its source has changed.

    Raises:
        ConfigError: It cannot be found or imported, or is no network function.
    """
    digest = own_nets.source_digest(name)
    known = _loaded.get(name)
    if known is not None and known[0] == digest:
        return known[1]
    if known is not None:
        _forget(known[1].files)
    network = _load(own_nets.find(name))
    _loaded[name] = digest, network
    return network


def _forget(changed: frozenset[str]) -> None:
    """Modules of these files are imported anew when they are asked for."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)) in changed:
            del sys.modules[name]


def _load(net: OwnNet) -> OwnNetwork:
    sources = frozenset(str(file) for file in own_nets.source_files(net))
    module = _import(net)
    function = getattr(module, net.function, None)
    if function is None:
        functions = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        raise ConfigError(
            f"{net.file} has no {net.function}.{nearest(net.function, functions)}",
            f"Functions that it has: {', '.join(functions) or 'none'}.",
        )
    if not callable(function):
        raise ConfigError(
            f"{net.name} is {_kind(function)}, expected a function {_CALL}.",
            f"Name a function of {net.file} after the colon.",
        )
    try:
        inspect.signature(function).bind(None, num_classes=2, is_training=True)
    except TypeError as error:
        raise ConfigError(
            f"{net.name} does not take {_CALL}: {error}.",
            f"Define it as TF-Slim's networks are: def {net.function}(images, num_classes, "
            "is_training=True):",
        ) from None
    make_arg_scope = getattr(module, f"{net.function}_arg_scope", None)
    make_arg_scope = getattr(function, "arg_scope", make_arg_scope)
    return OwnNetwork(net, function, make_arg_scope, sources)


def _import(net: OwnNet) -> ModuleType:
    if net.folder is not None and str(net.folder) not in sys.path:
        sys.path.append(str(net.folder))  # last: a file of the user's must hide no package
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(net.module)
    except Exception as error:
        message = next(iter(str(error).strip().splitlines()), "no message")
        raise ConfigError(
            f"{net.file} cannot be imported: {type(error).__name__}: {message}",
            f"See it with all lines: {sys.executable} {net.file}",
        ) from None
    found = Path(module.__file__ or "").resolve()
    if found != net.file:
        raise ConfigError(
            f"model.net {net.name} is {net.file}, but Python's module {net.module} is {found}.",
            f"Give {net.file.name} a name that no other module has.",
        )
    return module


def _before_head(logits: tf.Tensor) -> tf.Tensor:
    """What the last layer with weights before `logits` reads: [N, D] or [N, h, w, D].

    The logits themselves where there is no such layer.
    """
    pending, seen = [logits.op], {logits.op}
    while pending:
        operation = pending.pop(0)
        if operation.type in _WEIGHTED:
            return operation.inputs[0]
        for tensor in operation.inputs:
            if tensor.op not in seen:
                seen.add(tensor.op)
                pending.append(tensor.op)
    return logits


def _decay_in(defaults: Any) -> float | None:
    """The first decay that an arg scope states for batch norm."""
    if not isinstance(defaults, Mapping):
        return None
    for key, value in defaults.items():
        if key == "decay" and isinstance(value, float):
            return value
        if (found := _decay_in(value)) is not None:
            return found
    return None


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
