"""Answers of two models with known numbers of right, fixed and broken images."""

import numpy as np

from slimworks.components import contracts
from slimworks.components.gate.answers import Answers

CLASS_NAMES = ("daisy", "rose", "tulip")


def answers(predicted, true, class_names=CLASS_NAMES, ids=None):
    ids = [f"{index:064x}" for index in range(len(true))] if ids is None else ids
    return Answers(
        tuple(class_names),
        np.array(ids, dtype=np.str_),
        np.array(true, np.int64),
        np.array(predicted, np.int64),
    )


def truth(num_images, num_classes=3):
    return np.arange(num_images) % num_classes


def right(num_images, num_correct, class_names=CLASS_NAMES):
    """A model that is right on the first `num_correct` images."""
    true = truth(num_images, len(class_names))
    predicted = np.where(np.arange(num_images) < num_correct, true, (true + 1) % len(class_names))
    return answers(predicted, true, class_names)


def pair(both, fixed, broken, neither):
    """Candidate and baseline with these counts of images that each answers right."""
    total = both + fixed + broken + neither
    true = truth(total)
    kind = np.repeat(np.arange(4), [both, fixed, broken, neither])
    candidate = np.where(kind <= 1, true, (true + 1) % 3)
    baseline = np.where((kind == 0) | (kind == 2), true, (true + 1) % 3)
    return answers(candidate, true), answers(baseline, true)


def write_saved_model(model_dir, classes_type="string", signatures=("serving_default",), width=3):
    """saved_model.pb with these signatures: bytes of images in, class names out."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    found = saved_model.meta_graphs.add().signature_def
    found["__saved_model_init_op"].outputs["op"].name = "NoOp"
    for name in signatures:
        images = found[name].inputs["images"]
        images.dtype = types_pb2.DT_STRING
        images.tensor_shape.dim.add(size=-1)
        classes = found[name].outputs["classes"]
        classes.dtype = types_pb2.DataType.Value(f"DT_{classes_type.upper()}")
        for size in (-1, width):
            classes.tensor_shape.dim.add(size=size)
    folder = model_dir / contracts.SAVED_MODEL_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return model_dir


def metrics_of(model):
    """What the evaluator writes about these answers."""
    return {
        "num_images": len(model),
        "num_nan": model.num_nan,
        "accuracy": float(model.correct.mean()) if len(model) else None,
    }
