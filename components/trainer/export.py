"""Writes the SavedModel: decode, preprocessing, network and class names in one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.nets.module import SlimModule

Answer = Callable[..., dict[str, tf.Tensor]]

DEFAULT_TOP_K = 5  # what people read; 1,000 names a request would cost more than the network


class ServedModel(tf.Module):
    """The model as it is served. N: images a request, K: classes, k: classes in an answer.

    Args:
        module: The trained network.
        decode: string [N] encoded images -> stored images uint8 [N, S, S, C]: the transform graph.
        preprocess: stored images -> network input float32 [N, H, W, C].
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
        self._pixels_shape = [None, image_size, image_size, num_channels]

    def signatures(self) -> dict[str, Answer]:
        """Traced functions by signature name."""
        images = tf.TensorSpec([None], tf.string, name="images")
        examples = tf.TensorSpec([None], tf.string, name="inputs")
        pixels = tf.TensorSpec(self._pixels_shape, tf.float32, name="pixels")

        def traced(function: Answer, spec: tf.TensorSpec) -> Answer:
            return tf.function(function, input_signature=[spec], autograph=False)

        return {
            contracts.SIGNATURE_SERVE: traced(self._serve, images),
            contracts.SIGNATURE_PIXELS: traced(self._predict_pixels, pixels),
            contracts.SIGNATURE_CLASSIFY: traced(self._classify, examples),
            contracts.SIGNATURE_EMBED: traced(self._embed, images),
            contracts.SIGNATURE_EVALUATE: traced(self._evaluate, images),
        }

    def _logits(self, pixels: tf.Tensor) -> tf.Tensor:
        return self._module.forward(pixels, is_training=False).logits

    def _pixels(self, images: tf.Tensor) -> tf.Tensor:
        return self._preprocess(self._decode(images))

    def _answer(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        top = tf.math.top_k(tf.nn.softmax(logits), k=self._top_k)
        return {
            "classes": tf.gather(self._class_names, top.indices),
            "probabilities": top.values,
            "class_index": tf.cast(top.indices, tf.int64),
            "is_known": top.values[:, 0] >= self._min_probability,
        }

    def _serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(self._logits(self._pixels(images)))

    def _predict_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(self._logits(pixels))

    def _classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {contracts.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
        images = tf.io.parse_example(inputs, features)[contracts.IMAGE_ENCODED]
        answer = self._answer(self._logits(self._pixels(images)))
        return {"classes": answer["classes"], "scores": answer["probabilities"]}

    def _embed(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self._module.forward(self._pixels(images), is_training=False)
        return {"embedding": self._module.embedding(outputs.end_points)}

    def _evaluate(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = self._logits(self._pixels(images))
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}


def export_saved_model(model: ServedModel, folder: str) -> None:
    """Writes `model` with its signatures as a SavedModel into `folder`."""
    tf.saved_model.save(model, folder, signatures=model.signatures())
