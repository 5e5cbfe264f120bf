"""The model as it is served: decode, preprocessing, network and class names in one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.calibration import known
from slimworks.components.calibration.calibration import Calibration
from slimworks.components.nets.module import SlimModule

Answer = dict[str, tf.Tensor]

Network = Callable[[tf.Tensor], Answer]

DEFAULT_TOP_K = 5  # what people read; 1,000 names a request would cost more than the network
_NEVER = 2.0  # no probability reaches it


def pixels_spec(image_size: int, num_channels: int) -> tf.TensorSpec:
    """Of the network's input: float32 [N, H, W, C], any N."""
    return tf.TensorSpec([None, image_size, image_size, num_channels], tf.float32, name="pixels")


def inference_network(module: SlimModule, spec: tf.TensorSpec | None = None) -> Network:
    """The network as it is served: pixels -> logits and embedding.

    Traced once, whoever calls it: tracing takes seconds.

    Args:
        module: The network.
        spec: Of the pixels; None: of the module's own size.
    """
    spec = spec or pixels_spec(module.image_size, module.num_channels)

    def run(pixels: tf.Tensor) -> Answer:
        outputs = module.forward(pixels, is_training=False)
        return {"logits": outputs.logits, "embedding": module.embedding(outputs.end_points)}

    return _traced(run, spec)


class ServedModel(tf.Module):
    """The model as it is served. N: images a request, K: classes, k: classes in an answer.

    Args:
        module: The trained network.
        decode: string [N] encoded images -> what `preprocess` takes. The trainer gives the
            transform graph: stored images uint8 [N, S, S, C].
        preprocess: What `decode` gives -> network input float32 [N, H, W, C].
        class_names: By class index.
        top_k: Classes in an answer, most probable first; None: DEFAULT_TOP_K.
        min_probability: `is_known` is false below it.
        image_size: H and W.
        num_channels: C.
        calibration: How logits become probabilities, and what else `is_known` depends on.
        network: `inference_network` of the module, where there is one already.
    """

    def __init__(
        self,
        module: SlimModule,
        decode: Callable[[tf.Tensor], tf.Tensor],
        preprocess: Callable[[tf.Tensor], tf.Tensor],
        class_names: Sequence[str],
        *,
        top_k: int | None,
        min_probability: float,
        image_size: int,
        num_channels: int,
        calibration: Calibration = Calibration(),  # noqa: B008 - immutable
        network: Network | None = None,
    ) -> None:
        super().__init__(name="slimworks_model")
        self._module = module
        self._decode = decode
        self._preprocess = preprocess
        self._class_names = tf.constant(list(class_names), name="class_names")
        self._top_k = min(top_k or DEFAULT_TOP_K, len(class_names))
        self._calibration = calibration
        self._least = tf.constant(
            [
                max(min_probability, _NEVER if threshold is None else threshold)
                for threshold in calibration.thresholds or [0.0] * len(class_names)
            ],
            name="least_probabilities",
        )
        rule = calibration.known
        if rule is not None and rule.class_means is not None:
            # Like the names: here, so that all signatures share one copy.
            self._class_means = tf.constant(rule.class_means, name="class_means")
        self._pixels_spec = pixels_spec(image_size, num_channels)
        self._images_spec = tf.TensorSpec([None], tf.string, name="images")
        # Traced once and called by every signature: a graph with five copies takes the server
        # longer to load.
        self._pixels = _traced(self._to_pixels, self._images_spec)
        self._network = network or inference_network(module, self._pixels_spec)

    def signatures(self) -> dict[str, Callable[..., Answer]]:
        """Traced functions by signature name."""
        examples = tf.TensorSpec([None], tf.string, name="inputs")
        return {
            contracts.SIGNATURE_SERVE: _traced(self._serve, self._images_spec),
            contracts.SIGNATURE_PIXELS: _traced(self._predict_pixels, self._pixels_spec),
            contracts.SIGNATURE_CLASSIFY: _traced(self._classify, examples),
            contracts.SIGNATURE_EMBED: _traced(self._embed, self._images_spec),
            contracts.SIGNATURE_EVALUATE: _traced(self._evaluate, self._images_spec),
        }

    def _to_pixels(self, images: tf.Tensor) -> tf.Tensor:
        return self._preprocess(self._decode(images))

    def _probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(logits / self._calibration.temperature)

    def _answer(self, outputs: Answer) -> Answer:
        top = tf.math.top_k(self._probabilities(outputs["logits"]), k=self._top_k)
        best, best_index = top.values[:, 0], top.indices[:, 0]
        counts = best >= tf.gather(self._least, best_index)
        return {
            "classes": tf.gather(self._class_names, top.indices),
            "probabilities": top.values,
            "class_index": tf.cast(top.indices, tf.int64),
            "is_known": tf.logical_and(counts, self._is_known(outputs, best)),
        }

    def _is_known(self, outputs: Answer, best: tf.Tensor) -> tf.Tensor:
        """Whether images are of the kind that was trained on: bool [N]; `known` has the scores."""
        rule = self._calibration.known
        if rule is None:
            return tf.ones_like(best, tf.bool)
        if rule.method == "probability":
            return best >= rule.threshold
        if rule.method == "energy":
            return tf.reduce_logsumexp(outputs["logits"], axis=1) >= rule.threshold
        means = self._class_means
        directions = tf.math.l2_normalize(
            outputs["embedding"], axis=1, epsilon=known.SMALLEST_SQUARE
        )
        squares = (
            tf.reduce_sum(directions**2, axis=1, keepdims=True)
            - 2 * tf.matmul(directions, means, transpose_b=True)
            + tf.reduce_sum(means**2, axis=1)
        )
        return tf.reduce_min(squares, axis=1) <= rule.threshold**2

    def _serve(self, images: tf.Tensor) -> Answer:
        return self._answer(self._network(self._pixels(images)))

    def _predict_pixels(self, pixels: tf.Tensor) -> Answer:
        return self._answer(self._network(pixels))

    def _classify(self, inputs: tf.Tensor) -> Answer:
        features = {contracts.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
        images = tf.io.parse_example(inputs, features)[contracts.IMAGE_ENCODED]
        answer = self._answer(self._network(self._pixels(images)))
        return {"classes": answer["classes"], "scores": answer["probabilities"]}

    def _embed(self, images: tf.Tensor) -> Answer:
        return {"embedding": self._network(self._pixels(images))["embedding"]}

    def _evaluate(self, images: tf.Tensor) -> Answer:
        outputs = self._network(self._pixels(images))
        return {**outputs, "probabilities": self._probabilities(outputs["logits"])}


def _traced(function: Callable[[tf.Tensor], Any], spec: tf.TensorSpec) -> Callable[..., Any]:
    return tf.function(function, input_signature=[spec], autograph=False)


def write_saved_model(model: ServedModel, folder: str) -> None:
    """Writes `model` with its signatures as a SavedModel into `folder`."""
    tf.saved_model.save(model, folder, signatures=model.signatures())
