"""All that NASNet and PNASNet consist of in one place, as TF-Slim's users import it."""

from __future__ import annotations

from slimworks.components.nets.nasnet.cells import (
    CLIP_BY_VALUE_CAP,
    NasNetABaseCell,
    NasNetANormalCell,
    NasNetAReductionCell,
)
from slimworks.components.nets.nasnet.operations import (
    INVALID,
    calc_reduction_layers,
    drop_path,
    factorized_reduction,
    get_channel_dim,
    get_channel_index,
    global_avg_pool,
)

__all__ = [
    "CLIP_BY_VALUE_CAP",
    "INVALID",
    "NasNetABaseCell",
    "NasNetANormalCell",
    "NasNetAReductionCell",
    "calc_reduction_layers",
    "drop_path",
    "factorized_reduction",
    "get_channel_dim",
    "get_channel_index",
    "global_avg_pool",
]
