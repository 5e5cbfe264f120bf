"""Small real SavedModels: the mean colour of an image decides its class."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

CLASS_NAMES = ("red", "green", "blue")
ECHOED = (
    "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64", "bool", "string", "complex64",
)  # fmt: skip


def png(color: str, file_format: str = "PNG", **options: object) -> bytes:
    """An 8 x 8 image of one colour, as a file."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(stream, file_format, **options)
    return stream.getvalue()


def save_color_model(
    folder: Path, *, favourite: int | None = None, class_names: tuple[str, ...] = CLASS_NAMES
) -> Path:
    """Writes a SavedModel with the signatures of an exported SlimWorks model.

    Args:
        folder: Where to.
        favourite: Class index that always wins; None lets the colour decide.
        class_names: What it calls red, green and blue.
    """
    import tensorflow as tf

    class ColorModel(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.class_names = tf.constant(class_names)
            bias = [50.0 if index == favourite else 0.0 for index in range(3)]
            self.bias = tf.Variable(bias, name="bias")

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def serve(self, images):
            def mean_color(encoded):
                image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(image, tf.float32) / 255.0, [0, 1])

            colors = tf.map_fn(mean_color, images, fn_output_signature=tf.TensorSpec([3]))
            probabilities, indices = tf.math.top_k(tf.nn.softmax(4 * colors + self.bias), k=2)
            return {
                "classes": tf.gather(self.class_names, indices),
                "probabilities": probabilities,
                "class_index": tf.cast(indices, tf.int64),
                "is_known": probabilities[:, 0] >= 0.5,
            }

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="x"),
                tf.TensorSpec([], tf.int64, name="y"),
            ]
        )
        def arithmetic(self, x, y):
            return {
                "double": x * 2,
                "count": tf.size(x) + 0,
                "y": y + 0,
                "truth": x > 0,
                "half": tf.cast(x, tf.float16),
            }

    model = ColorModel()
    tf.saved_model.save(
        model,
        str(folder),
        signatures={"serving_default": model.serve, "arithmetic": model.arithmetic},
    )
    return folder


def save_example_model(folder: Path) -> Path:
    """Writes a SavedModel whose signatures take tf.Examples with one float feature `x`.

    `classify` answers labels and scores, `regress` x + 1, `labels_only` and `scores_only` one
    half of `classify` each, `matrix` a score of the wrong rank, `half` a wrong dtype.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        inputs = v1.placeholder(tf.string, [None], name="examples")
        x = v1.parse_example(inputs, {"x": v1.FixedLenFeature([], tf.float32)})["x"]
        scores = tf.stack([x, 2 * x], axis=1)
        classes = tf.fill(tf.shape(scores), "c")
        outputs = {
            "classify": ({"classes": classes, "scores": scores}, "classify"),
            "labels_only": ({"classes": classes}, "classify"),
            "scores_only": ({"scores": scores}, "classify"),
            "regress": ({"outputs": x + 1}, "regress"),
            "column": ({"outputs": (x + 1)[:, None]}, "regress"),
            "matrix": ({"outputs": scores}, "regress"),
            "flat": ({"scores": x}, "classify"),
            "half": ({"outputs": tf.cast(x, tf.float16)}, "regress"),
            "serving_default": ({"scores": scores}, "predict"),
        }
        builder = v1.saved_model.Builder(str(folder))
        build = v1.saved_model.build_signature_def
        info = v1.saved_model.build_tensor_info
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                name: build(
                    {"inputs": info(inputs)},
                    {alias: info(tensor) for alias, tensor in tensors.items()},
                    f"tensorflow/serving/{method}",
                )
                for name, (tensors, method) in outputs.items()
            },
        )
        builder.save()
    return folder


def save_types_model(folder: Path) -> Path:
    """Writes a SavedModel with a signature `echo_<dtype>` for each dtype, shape unknown.

    `two`: x float [?, 2] and name string [?] -> sum float [?], greeting string [?], raw_bytes
    string [?]. `scalar`: x float [] -> y float []. `nothing`: no input -> y int32 [2].
    `defaulted` is `two`, with a default for name.
    `summed`: x float [?] -> y float []. `uneven`: x float [?] -> a float [?], b float [1].
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        signatures = {}
        for name in ECHOED:
            x = v1.placeholder(getattr(tf, name), None, name=name)
            signatures[f"echo_{name}"] = ({"x": x}, {"y": tf.identity(x)})
        x = v1.placeholder(tf.float32, [None, 2])
        text = v1.placeholder(tf.string, [None])
        signatures["two"] = (
            {"x": x, "name": text},
            {
                "sum": tf.reduce_sum(x, 1),
                "greeting": tf.strings.join(["hello ", text]),
                "raw_bytes": tf.identity(text),
            },
        )
        signatures["defaulted"] = signatures["two"]
        scalar = v1.placeholder(tf.float32, [])
        signatures["scalar"] = ({"x": scalar}, {"y": scalar * 2})
        signatures["nothing"] = ({}, {"y": tf.constant([1, 2])})
        vector = v1.placeholder(tf.float32, [None])
        signatures["summed"] = ({"x": vector}, {"y": tf.reduce_sum(vector)})
        signatures["uneven"] = ({"x": vector}, {"a": vector * 1, "b": vector[:1]})
        signatures["serving_default"] = signatures["echo_float32"]
        builder = v1.saved_model.Builder(str(folder))
        build = v1.saved_model.build_signature_def
        info = v1.saved_model.build_tensor_info
        definitions = {
            name: build(
                {alias: info(tensor) for alias, tensor in inputs.items()},
                {alias: info(tensor) for alias, tensor in outputs.items()},
                "tensorflow/serving/predict",
            )
            for name, (inputs, outputs) in signatures.items()
        }
        definitions["defaulted"].defaults["name"].CopyFrom(tf.make_tensor_proto([b"you"]))
        builder.add_meta_graph_and_variables(session, ["serve"], definitions)
        builder.save()
    return folder


def save_waiting_model(folder: Path) -> Path:
    """Writes a SavedModel whose `serving_default` runs until the file named by `path` is there."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="path")])
    def wait(path):
        [found] = tf.while_loop(
            lambda found: tf.equal(tf.size(found), 0),
            lambda _: [tf.io.matching_files(path)],
            [tf.constant([], tf.string)],
            shape_invariants=[tf.TensorShape([None])],
        )
        return {"found": found}

    model = tf.Module()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": wait})
    return folder
