"""Reads request logs: closed files only, damaged records skipped and counted."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.examples import image_formats, messages, tfrecord
from slimworks.components.serving import answers
from slimworks.components.serving.log_files import SUFFIX, closed_files
from slimworks.components.serving.protos import wire_pb2 as wire

PREDICT, CLASSIFY = "predict_log", "classify_log"
_FLOATS = (wire.DT_FLOAT, wire.DT_DOUBLE)
# Of Predict's answers; a model that is none of ours may have only the first two.
_CLASSES, _PROBABILITIES, _IS_KNOWN = "classes", "probabilities", "is_known"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model said of one image, best class first.

    Attributes:
        class_names: Classes in the answer.
        probabilities: Theirs.
        is_known: Whether it is to be relied on; None where the model does not say.
    """

    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    is_known: bool | None = None


def log_files(place: str | os.PathLike[str]) -> list[Path]:
    """Files of a log, oldest first: a file, all of a folder, or those of a prefix.

    Raises:
        DataError: There is none.
    """
    path = Path(place)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix == SUFFIX and p.name[0] != ".")
    else:
        found = closed_files(path.parent, path.name) if path.parent.is_dir() else []
    if not found:
        raise DataError(
            f"There is no closed request log at {place}.",
            "Give the prefix of `slimworks serve --request_log=PREFIX`, its folder or a file; a "
            "file is closed after --request_log_max_file_seconds.",
        )
    return found


def log_state(place: str | os.PathLike[str]) -> str:
    """Names and sizes of a log's closed files, as a digest; empty where there is none."""
    try:
        found = [f"{path.name} {path.stat().st_size}" for path in log_files(place)]
    except (DataError, FileNotFoundError):  # the server may make room just now
        return ""
    return hashlib.sha256("\n".join(found).encode("utf-8", "surrogateescape")).hexdigest()


class LogReader:
    """The newest records of a log, oldest first. Counts what it skips.

    Args:
        place: See `log_files`.
        max_records: Older ones are left out; None: all are read.

    Attributes:
        num_damaged: Records that are cut short, or do not match their checksum or format.

    Raises:
        DataError: There is no log.
    """

    def __init__(self, place: str | os.PathLike[str], max_records: int | None = None) -> None:
        self.num_damaged = 0
        self._wanted: list[tuple[Path, Sequence[int]]] = []
        num_left = max_records
        for path in reversed(log_files(place)):
            if num_left == 0:
                break
            offsets = self._offsets(path)
            if num_left is not None:
                offsets = offsets[-num_left:]
                num_left -= len(offsets)
            self._wanted.insert(0, (path, offsets))

    def __iter__(self) -> Iterator[Any]:
        """Yields PredictionLogs, one in memory at a time."""
        from tensorflow_serving.apis import prediction_log_pb2

        for path, offsets in self._wanted:
            for offset in offsets:
                try:
                    record = tfrecord.read_record(path, offset)
                    yield prediction_log_pb2.PredictionLog.FromString(record)
                except (tfrecord.DamagedFileError, DecodeError):
                    self.num_damaged += 1
                except FileNotFoundError:
                    break  # its server made room meanwhile

    def _offsets(self, path: Path) -> list[int]:
        found: list[int] = []
        try:
            found.extend(tfrecord.record_offsets(path))
        except tfrecord.DamagedFileError:
            self.num_damaged += 1  # all up to the torn one are whole
        except FileNotFoundError:
            return []
        return found


def images_of(log: Any) -> list[bytes | None]:
    """Encoded image of each row of a request; None where a row holds none."""
    kind = log.WhichOneof("log_type")
    return images_in(getattr(log, kind).request) if kind in (PREDICT, CLASSIFY) else []


def images_in(request: Any) -> list[bytes | None]:
    """Encoded image of each row of a PredictRequest or ClassificationRequest."""
    if hasattr(request, "inputs"):
        return [_image(value) for value in _strings(request.inputs)]
    return [_encoded(example) for example in request.input.example_list.examples]


def answers_of(log: Any) -> list[Answer]:
    """Answer to each row of a logged Predict or Classify; empty where it names no classes."""
    kind = log.WhichOneof("log_type")
    return response_answers(getattr(log, kind).response) if kind in (PREDICT, CLASSIFY) else []


def response_answers(response: Any) -> list[Answer]:
    """Answers of a PredictResponse or ClassificationResponse; empty where it names no classes."""
    if hasattr(response, "result"):
        return [_classified(row.classes) for row in response.result.classifications]
    outputs = response.outputs
    if _CLASSES not in outputs or _PROBABILITIES not in outputs:
        return []
    names, shape = outputs[_CLASSES].string_val, _shape(outputs[_CLASSES])
    # Nothing is made as large as a shape claims: the names must be there.
    if len(shape) != 2 or shape[0] * shape[1] != len(names) or not names:
        return []
    if _shape(outputs[_PROBABILITIES]) != shape or outputs[_PROBABILITIES].dtype not in _FLOATS:
        return []
    probabilities = answers.tensor_values(outputs[_PROBABILITIES])
    has_known = _IS_KNOWN in outputs and _shape(outputs[_IS_KNOWN]) == shape[:1]
    known = answers.tensor_values(outputs[_IS_KNOWN]) if has_known else None
    top_k = shape[1]
    return [
        _sorted(
            [name.decode("utf-8", "replace") for name in names[row * top_k : (row + 1) * top_k]],
            probabilities[row * top_k : (row + 1) * top_k],
            None if known is None else bool(known[row]),
        )
        for row in range(shape[0])
    ]


def _shape(tensor: Any) -> list[int]:
    return [dim.size for dim in tensor.tensor_shape.dim]


def _classified(classes: Any) -> Answer:
    return _sorted([entry.label for entry in classes], [entry.score for entry in classes], None)


def _sorted(names: Sequence[str], probabilities: Sequence[float], is_known: bool | None) -> Answer:
    ranked = sorted(zip(probabilities, names, strict=True), key=lambda pair: -pair[0])
    return Answer(
        tuple(name for _, name in ranked), tuple(float(value) for value, _ in ranked), is_known
    )


def _strings(inputs: Any) -> Sequence[bytes]:
    """Values of the only input that holds text; rows of other inputs are no images."""
    found = [tensor.string_val for tensor in inputs.values() if tensor.string_val]
    return list(found[0]) if len(found) == 1 else []


def _image(value: bytes) -> bytes | None:
    """An encoded image, or that of a serialized tf.Example."""
    if image_formats.kind_of(value) is not None:
        return value
    try:
        return _encoded(messages.Example.FromString(value))
    except DecodeError:
        return None


def _encoded(example: Any) -> bytes | None:
    feature = example.features.feature
    key = contracts.IMAGE_ENCODED
    values = feature[key].bytes_list.value if key in feature else ()
    return bytes(values[0]) if values else None
