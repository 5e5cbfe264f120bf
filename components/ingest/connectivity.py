"""Connected components of a set of pairs."""

from __future__ import annotations

import numpy as np


def component_of(pairs: np.ndarray, num_nodes: int) -> np.ndarray:
    """[num_nodes] int32 number of each node's component, counted by their lowest nodes.

    pairs: [M, 2] nodes that are connected, in any order; a node without pairs stands alone.
    """
    from scipy import sparse  # late: the listing of a source needs no SciPy
    from scipy.sparse import csgraph

    edges = (np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1]))
    graph = sparse.coo_array(edges, (num_nodes, num_nodes))
    component: np.ndarray = csgraph.connected_components(graph, directed=False)[1]
    return component
