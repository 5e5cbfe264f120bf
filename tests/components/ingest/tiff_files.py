"""TIFF files that Pillow reads and cannot write: 16 bits a channel, 12 bits, white as zero."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SHORT, _LONG = 3, 4
_DEFLATE = 8


def tiff_file(
    size: tuple[int, int],
    samples: bytes,
    *,
    bits: tuple[int, ...],
    photometric: int,
    order: str = "<",
    compression: int = 1,
    more: tuple[tuple[int, int], ...] = (),
) -> bytes:
    """One strip. size: (height, width). more: further (tag, value) pairs of type SHORT."""
    tags = [
        (256, _LONG, (size[1],)), (257, _LONG, (size[0],)), (258, _SHORT, bits),
        (259, _SHORT, (compression,)), (262, _SHORT, (photometric,)),
        (277, _SHORT, (len(bits),)), (278, _LONG, (size[0],)), (279, _LONG, (len(samples),)),
        *((tag, _SHORT, (value,)) for tag, value in more),
    ]  # fmt: skip
    tags.append((273, _LONG, (0,)))
    first = 8 + 2 + 12 * len(tags) + 4
    behind = b"".join(struct.pack(f"{order}{len(bits)}H", *bits) for _ in range(len(bits) > 2))
    tags[-1] = (273, _LONG, (first + len(behind),))
    entries = b""
    for tag, kind, values in sorted(tags):
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        packed = packed if len(packed) <= 4 else struct.pack(f"{order}I", first)
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + b"\0" * 4 + behind + samples


def sixteen_bit_tiff(
    values: np.ndarray, *, order: str = "<", photometric: int = 2, predictor: int = 0,
    more: tuple[tuple[int, int], ...] = (),
) -> bytes:  # fmt: skip
    """A file of uint16 [H, W, C]. predictor: 0 uncompressed; deflate 1, of differences 2."""
    samples = values.astype(np.int64)
    if predictor == 2:
        samples[:, 1:] = np.diff(samples, axis=1) % 65_536
    stream = samples.astype(f"{order}u2").tobytes()
    return tiff_file(
        values.shape[:2],
        zlib.compress(stream) if predictor else stream,
        bits=(16,) * values.shape[2],
        photometric=photometric,
        order=order,
        compression=_DEFLATE if predictor else 1,
        more=(*more, *(((317, predictor),) if predictor else ())),
    )


def twelve_bit_tiff(values: np.ndarray) -> bytes:
    """A grey file of values [H, W] below 4,096; W is even: two pixels share three bytes."""
    first, second = values[:, 0::2].astype(int), values[:, 1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    return tiff_file(values.shape, packed.astype(np.uint8).tobytes(), bits=(12,), photometric=1)
