"""A small real SavedModel over coloured PNGs, and examples for it."""

import dataclasses
import io

import numpy as np
from PIL import Image

from slimworks.components import contracts, files
from slimworks.components.evaluator import predictions_file, scores
from slimworks.components.examples import encoding, tfrecord

CLASS_NAMES = ("red", "grün", "蓝")
NUM_IMAGES = 150


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def record(index, class_index, encoded, class_names=CLASS_NAMES, **facts):
    record = encoding.ImageRecord(
        encoded=encoded,
        format="png",
        original_format="png",
        class_index=class_index,
        class_name=class_names[class_index],
        filename=f"{class_names[class_index]}/{index:04d}.png",
        height=8,
        width=8,
        colorspace="RGB",
        channels=3,
        image_id=f"{index:064x}",
        group=f"slide-{index % 7}",
        brightness=0.5,
        sharpness=0.1,
        span=1,
    )
    return dataclasses.replace(record, **facts)


def write_examples(folder, records, split="test", num_shards=2):
    split_folder = contracts.split_folder(folder, split)
    split_folder.mkdir(parents=True)
    for shard in range(num_shards):
        name = contracts.EXAMPLES_FILE_PATTERN.format(shard=shard, num_shards=num_shards)
        with open(split_folder / name, "wb") as stream:
            for item in records[shard::num_shards]:
                tfrecord.write_record(stream, encoding.encode_example(item))
    return folder


def coloured_records(num_images=NUM_IMAGES):
    """Noise with one channel raised: the mean colour usually tells the class."""
    rng = np.random.default_rng(7)
    records = []
    for index in range(num_images):
        class_index = int(rng.integers(3))
        pixels = rng.integers(0, 200, (8, 8, 3))
        pixels[..., class_index] += 12
        records.append(record(index, class_index, png(pixels.astype(np.uint8))))
    return records


def generated(num_images, num_classes, seed=0, margin=1.5):
    """True classes and probabilities of a model that is right more often than not."""
    rng = np.random.default_rng(seed)
    class_index = rng.integers(0, num_classes, num_images)
    logits = rng.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), class_index] += margin
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return class_index, probabilities.astype(np.float32)


def write_predictions(path, class_index, probabilities, slices=None, logits=None):
    """A predictions file without a network: the first half of the images is small."""
    num_images = len(class_index)
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = np.log(probabilities) if logits is None else logits
    columns = {
        "image_id": np.array([f"{index:064x}" for index in range(num_images)], object),
        "filename": np.array([f"{index}.png" for index in range(num_images)], object),
        "group": np.array([f"slide-{index % 7}" for index in range(num_images)], object),
        "class_index": class_index,
        "predicted_index": scores.predicted_indices(probabilities),
        "probabilities": probabilities,
        "logits": raw.astype(np.float32),
        "width": np.where(np.arange(num_images) < num_images / 2, 100, 400).astype(np.int32),
        "height": np.full(num_images, 500, np.int32),
        "brightness": np.full(num_images, 0.5, np.float32),
        "sharpness": np.full(num_images, 0.1, np.float32),
    }
    facts = predictions_file.Facts("test", "model", "transform")
    with predictions_file.open_writer(path, facts) as writer:
        writer.write(columns, slices or [{}] * num_images)
    return path


def save_model(
    folder, bias=(0.0, 0.0, 0.0), class_names=CLASS_NAMES, nan_class=None, temperature=1.0
):
    """Model artifact whose logits are the scaled mean colours plus `bias`."""
    import tensorflow as tf

    class MeanColour(tf.Module):
        def __init__(self):
            super().__init__()
            self.bias = tf.Variable(np.array(bias, np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def evaluate(self, images):
            def mean_colour(image):
                return tf.reduce_mean(tf.cast(tf.io.decode_png(image, 3), tf.float32), [0, 1])

            colours = tf.map_fn(mean_colour, images, fn_output_signature=tf.float32)
            logits = (colours - 100.0) * 0.3 + self.bias
            if nan_class is not None:
                brightest = tf.argmax(logits, 1) == nan_class
                logits = tf.where(brightest[:, None], float("nan"), logits)
            return {
                "logits": logits,
                "probabilities": tf.nn.softmax(logits / temperature),
                "embedding": colours,
            }

    module = MeanColour()
    tf.saved_model.save(
        module,
        str(folder / contracts.SAVED_MODEL_FOLDER),
        signatures={contracts.SIGNATURE_EVALUATE: module.evaluate},
    )
    files.write_json(folder / contracts.MODEL_FACTS_FILE, {"class_names": list(class_names)})
    return folder
