"""The model as it is served: decode, preprocessing, network and class names in one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.nets.module import SlimModule

Answer = dict[str, tf.Tensor]

DEFAULT_TOP_K = 5  # what people read; 1,000 names a request would cost more than the network


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
    ) -> None:
        super().__init__(name="slimworks_model")
        self._module = module
        self._decode = decode
        self._preprocess = preprocess
        self._class_names = tf.constant(list(class_names), name="class_names")
        self._top_k = min(top_k or DEFAULT_TOP_K, len(class_names))
        self._min_probability = min_probability
        self._pixels_spec = tf.TensorSpec(
            [None, image_size, image_size, num_channels], tf.float32, name="pixels"
        )
        self._images_spec = tf.TensorSpec([None], tf.string, name="images")
        # Traced once and called by every signature: tracing takes seconds, and a graph with five
        # copies takes the server longer to load.
        self._pixels = _traced(self._to_pixels, self._images_spec)
        self._network = _traced(self._run_network, self._pixels_spec)

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

    def _run_network(self, pixels: tf.Tensor) -> Answer:
        outputs = self._module.forward(pixels, is_training=False)
        return {
            "logits": outputs.logits,
            "embedding": self._module.embedding(outputs.end_points),
        }

    def _logits(self, pixels: tf.Tensor) -> tf.Tensor:
        return self._network(pixels)["logits"]

    def _answer(self, logits: tf.Tensor) -> Answer:
        top = tf.math.top_k(tf.nn.softmax(logits), k=self._top_k)
        return {
            "classes": tf.gather(self._class_names, top.indices),
            "probabilities": top.values,
            "class_index": tf.cast(top.indices, tf.int64),
            "is_known": top.values[:, 0] >= self._min_probability,
        }

    def _serve(self, images: tf.Tensor) -> Answer:
        return self._answer(self._logits(self._pixels(images)))

    def _predict_pixels(self, pixels: tf.Tensor) -> Answer:
        return self._answer(self._logits(pixels))

    def _classify(self, inputs: tf.Tensor) -> Answer:
        features = {contracts.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
        images = tf.io.parse_example(inputs, features)[contracts.IMAGE_ENCODED]
        answer = self._answer(self._logits(self._pixels(images)))
        return {"classes": answer["classes"], "scores": answer["probabilities"]}

    def _embed(self, images: tf.Tensor) -> Answer:
        return {"embedding": self._network(self._pixels(images))["embedding"]}

    def _evaluate(self, images: tf.Tensor) -> Answer:
        logits = self._logits(self._pixels(images))
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}


def _traced(function: Callable[[tf.Tensor], Any], spec: tf.TensorSpec) -> Callable[..., Any]:
    return tf.function(function, input_signature=[spec], autograph=False)


def write_saved_model(model: ServedModel, folder: str) -> None:
    """Writes `model` with its signatures as a SavedModel into `folder`."""
    tf.saved_model.save(model, folder, signatures=model.signatures())
