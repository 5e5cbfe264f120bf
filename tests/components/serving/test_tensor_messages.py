from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from slimworks.components.serving import tensors
from slimworks.components.serving.request_errors import RequestError

Tensor = tensor_pb2.TensorProto
DTYPES = [
    tf.float32, tf.float64, tf.float16, tf.bfloat16, tf.int8, tf.int16, tf.int32, tf.int64,
    tf.uint8, tf.uint16, tf.uint32, tf.uint64, tf.bool, tf.complex64, tf.complex128,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_typed_fields_are_what_tensorflow_reads(dtype):
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype.as_numpy_dtype)
    tensor = tensors.to_proto(array)
    assert not tensor.tensor_content
    np.testing.assert_array_equal(tf.make_ndarray(tensor), array)
    np.testing.assert_array_equal(tensors.to_array(tensor, "x"), array)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_tensor_content_is_read(dtype):
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype.as_numpy_dtype)
    read = tensors.to_array(tf.make_tensor_proto(array), "x")
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_strings_survive():
    array = np.array([[b"a", b"\x00\xff"], [b"", "ü".encode()]], dtype=object)
    np.testing.assert_array_equal(tensors.to_array(tensors.to_proto(array), "x"), array)
    assert tensors.to_proto(b"scalar").string_val == [b"scalar"]


@pytest.mark.parametrize(
    ("values", "expected"), [([], [0, 0, 0]), ([5], [5, 5, 5]), ([5, 6], [5, 6, 6])]
)
def test_short_typed_field_repeats_its_last_value(values, expected):
    tensor = Tensor(dtype=tf.float32.as_datatype_enum, float_val=values)
    tensor.tensor_shape.dim.add(size=3)
    assert tensors.to_array(tensor, "x").tolist() == expected


def test_empty_tensors_keep_their_shape():
    array = np.zeros((0, 4), np.float32)
    assert tensors.to_array(tensors.to_proto(array), "x").shape == (0, 4)


def described(dtype, sizes, **fields):
    tensor = Tensor(dtype=dtype.as_datatype_enum, **fields)
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (described(tf.float32, [-1]), "is not fully defined"),
        (described(tf.float32, [2**40, 2**20], float_val=[1]), "is too large"),
        (described(tf.float32, [2], tensor_content=b"123"), "3 bytes of content for 2 elements"),
        (described(tf.string, [1], tensor_content=b"a"), "strings go into string_val"),
        (described(tf.resource, [1]), "dtype 20 is not supported"),
        (Tensor(dtype=99), "dtype 99 is not supported"),
    ],
)
def test_contradictions_are_refused(tensor, reason):
    with pytest.raises(RequestError, match=reason) as caught:
        tensors.to_array(tensor, "x")
    assert caught.value.code == 3
