"""Connected components of a set of pairs."""

from __future__ import annotations

import numpy as np


def component_of(pairs: np.ndarray, num_nodes: int) -> np.ndarray:
    """[num_nodes] int32 number of each node's component, counted by their lowest nodes.

    Each node hooks the component of a neighbour to its own where that is lower, and then points at
    the root itself: as many rounds as the logarithm of the longest path. SciPy has this too, but
    importing it takes longer than all the rest that an ingest of some new photos does with it.

    pairs: [M, 2] nodes that are connected, in any order; a node without pairs stands alone.
    """
    root = np.arange(num_nodes)
    first, second = pairs[:, 0], pairs[:, 1]
    while len(first):
        ends = root[first], root[second]
        low = np.minimum(*ends)
        for end in ends:
            np.minimum.at(root, end, low)
        while not np.array_equal(above := root[root], root):
            root = above
        is_apart = root[first] != root[second]
        first, second = first[is_apart], second[is_apart]
    component: np.ndarray = np.unique(root, return_inverse=True)[1].astype(np.int32)
    return component
