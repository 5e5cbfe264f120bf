"""Files in the formats of MNIST (IDX) and CIFAR-10, made of given pixels."""

import io
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def idx_images(pixels: np.ndarray) -> bytes:
    """pixels: [N, H, W] uint8."""
    return struct.pack(">4I", 0x803, *pixels.shape) + pixels.tobytes()


def idx_labels(labels: list[int]) -> bytes:
    return struct.pack(">2I", 0x801, len(labels)) + bytes(labels)


def cifar10_record(label: int, pixels: np.ndarray) -> bytes:
    """pixels: [32, 32, 3] uint8."""
    return bytes([label]) + pixels.transpose(2, 0, 1).tobytes()


def write_tar_gz(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path
