"""Which images would leak into each other's split, and the fewest to set aside so that none does.

Nodes are images and, after them, groups: an image is tied to its near-duplicates and to its groups.
Nothing here depends on anything but node numbers, which the caller gives in the order of image ids.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from slimworks.components import contracts
from slimworks.components.ingest.connectivity import component_of

SPLIT_LEAK = "split_leak"  # its user's or earlier split contradicts a more precious one
SPLIT_BRIDGE = "split_bridge"  # new, and tied to two splits
_STRONGER = tuple(range(len(contracts.SPLITS) - 1, 0, -1))  # test beats eval beats train


@dataclasses.dataclass(frozen=True, slots=True)
class SetAside:
    """An image that would leak.

    Attributes:
        index: The image.
        other: An image that it would leak to, in the most precious split that it touches.
        reason: SPLIT_LEAK or SPLIT_BRIDGE.
    """

    index: int
    other: int
    reason: str


class LeakGraph:
    """Images, their ties, and those still in use.

    Args:
        pairs: [M, 2] near-duplicates, in any order.
        group: [N] number of the user's group, -1 where there is none.
    """

    def __init__(self, pairs: np.ndarray, group: np.ndarray) -> None:
        grouped = np.flatnonzero(group >= 0)
        names, numbers = np.unique(group[grouped], return_inverse=True)
        self.num_images = len(group)
        self.num_nodes = len(group) + len(names)
        self.is_used = np.ones(self.num_nodes, bool)  # groups always are
        memberships = np.stack([grouped, len(group) + numbers.reshape(-1)], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        self._ties = np.concatenate([pairs.astype(np.int64), memberships])
        self._used_then = np.empty(0, bool)  # when the components were found
        self._components = np.empty(0, np.int32)

    def ties(self) -> np.ndarray:
        """[T, 2] the ties between nodes in use, each once or more."""
        return self._ties[self.is_used[self._ties].all(axis=1)]

    def components(self) -> np.ndarray:
        """[nodes] number of the connected component of each node; nodes out of use stand alone."""
        if not np.array_equal(self._used_then, self.is_used):
            self._components = component_of(self.ties(), self.num_nodes)
            self._used_then = self.is_used.copy()
        return self._components

    def neighbours(self, nodes: np.ndarray) -> list[np.ndarray]:
        """The nodes tied to each of `nodes`, in use or not."""
        rows = _matrix(self._ties, self.num_nodes)
        rows = (rows + rows.T).tocsr()[nodes]
        return np.split(rows.indices, rows.indptr[1:-1])


def _matrix(edges: np.ndarray, size: int, weights: np.ndarray | int = 1) -> Any:
    from scipy import sparse

    weights = np.broadcast_to(weights, len(edges)).astype(np.int32)
    return sparse.coo_matrix((weights, (edges[:, 0], edges[:, 1])), (size, size)).tocsr()


def separate(graph: LeakGraph, fixed: np.ndarray) -> list[SetAside]:
    """Takes images out of use until no two splits are connected.

    fixed: [N] split of the images that have one, -1 of new ones.

    Of two tied images with different splits the less precious one goes. New images go where they
    connect splits: between two splits the fewest that suffice (a minimum vertex cut), among three
    a set of which none can come back.
    """
    leaks = break_leaks(graph, fixed)
    colors = np.full(graph.num_nodes, -1, np.int64)
    colors[: graph.num_images] = fixed
    bridges = _cut_bridges(graph, colors)
    return leaks + (_described(graph, colors, bridges) if len(bridges) else [])


def break_leaks(graph: LeakGraph, fixed: np.ndarray) -> list[SetAside]:
    """Takes the less precious of each two tied images with different splits out of use."""
    found = []
    for strong in _STRONGER:
        # A group passes on its first image of the stronger split, an image itself.
        source = np.full(graph.num_nodes, graph.num_nodes)
        images = np.flatnonzero((fixed == strong) & graph.is_used[: graph.num_images])
        source[images] = images
        ties = graph.ties()
        is_membership = ties[:, 1] >= graph.num_images
        members = ties[is_membership]
        np.minimum.at(source, members[:, 1], source[members[:, 0]])
        directed = np.concatenate([ties, ties[~is_membership][:, ::-1]])
        weak, sources = directed[:, 0], source[directed[:, 1]]
        leaks = (sources < graph.num_nodes) & (fixed[weak] >= 0) & (fixed[weak] < strong)
        others = np.full(graph.num_images, graph.num_nodes)
        np.minimum.at(others, weak[leaks], sources[leaks])
        victims = np.flatnonzero(others < graph.num_nodes)
        graph.is_used[victims] = False
        found += [SetAside(int(v), int(others[v]), SPLIT_LEAK) for v in victims]
    return found


def _cut_bridges(graph: LeakGraph, colors: np.ndarray) -> np.ndarray:
    """Takes new images that connect splits out of use and returns them, ascending.

    colors: [nodes] split of the images that have one, -1 of new images and of groups.
    """
    cut = np.concatenate([_cut(graph, colors, strong) for strong in _STRONGER])
    return _without_needless(graph, colors, np.sort(cut)) if len(cut) else cut


def _cut(graph: LeakGraph, colors: np.ndarray, strong: int) -> np.ndarray:
    """Takes the fewest new images out of use that part split `strong` from the lesser ones.

    Of the minimum cuts it is the one nearest to the stronger split, which is unique: the images
    behind it go to the lesser split.
    """
    component = graph.components()
    is_strong = graph.is_used & (colors == strong)
    is_weak = graph.is_used & (colors >= 0) & (colors < strong)
    both = np.intersect1d(component[is_strong], component[is_weak])
    if not len(both):
        return np.empty(0, np.int64)
    nodes = np.flatnonzero(np.isin(component, both) & graph.is_used & (colors < 0))
    # All images of the stronger split become one node, the source; the others the sink.
    place = np.full(graph.num_nodes, -1)
    place[nodes] = np.arange(len(nodes))
    place[is_strong] = len(nodes)
    place[is_weak] = len(nodes) + 1
    ties = graph.ties()
    ties = ties[np.isin(component[ties[:, 0]], both)]
    chosen = nodes[_minimum_vertex_cut(place[ties], nodes < graph.num_images)]
    graph.is_used[chosen] = False
    return chosen


def _minimum_vertex_cut(ties: np.ndarray, is_removable: np.ndarray) -> np.ndarray:
    """Returns the inner nodes of the minimum cut nearest to the source.

    By Menger's theorem: each inner node becomes an edge of capacity 1 from its entry to its exit,
    and the maximum flow fills the cut.

    Args:
        ties: [T, 2] numbers of inner nodes; the source is len(is_removable), the sink one more.
        is_removable: [inner nodes] whether the node may be in the cut.
    """
    from scipy.sparse import csgraph

    size = len(is_removable)
    source, sink = size, size + 1
    entry = np.arange(size + 2)
    leave = np.where(entry < size, entry + size + 2, entry)
    hops = np.unique(np.concatenate([ties, ties[:, ::-1]]), axis=0)
    hops = hops[(hops[:, 0] != hops[:, 1]) & (hops[:, 0] != sink) & (hops[:, 1] != source)]
    edges = np.concatenate([
        np.stack([entry[:size], leave[:size]], axis=1),
        np.stack([leave[hops[:, 0]], entry[hops[:, 1]]], axis=1),
    ])  # fmt: skip
    unlimited = size + 1
    limits = np.concatenate([np.where(is_removable, 1, unlimited), np.full(len(hops), unlimited)])
    capacity = _matrix(edges, 2 * size + 2, limits)
    residual = capacity - csgraph.maximum_flow(capacity, source, sink, method="dinic").flow
    residual.eliminate_zeros()
    is_reached = np.zeros(2 * size + 2, bool)
    is_reached[csgraph.breadth_first_order(residual, source, return_predecessors=False)] = True
    return np.flatnonzero(is_reached[:size] & ~is_reached[leave[:size]])


def _without_needless(graph: LeakGraph, colors: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Takes those of `cut` into use again that connect nothing; returns the others.

    The second cut can make images of the first needless; one cut alone never does.
    """
    component = graph.components()
    split_of_component = _component_splits(component, colors, graph.is_used)
    root = np.arange(component.max(initial=-1) + 1)

    def find(node: int) -> int:
        number = component[node]
        while root[number] != number:
            number = root[number]
        return int(number)

    for image, neighbours in zip(cut, graph.neighbours(cut), strict=True):
        touched = {find(node) for node in neighbours if graph.is_used[node]}
        splits = {int(split_of_component[number]) for number in touched} - {-1}
        if len(splits) <= 1:
            graph.is_used[image] = True
            root[list(touched)] = component[image]
            split_of_component[component[image]] = max(splits, default=-1)
    return cut[~graph.is_used[cut]]


def _component_splits(component: np.ndarray, colors: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    splits = np.full(component.max(initial=-1) + 1, -1, np.int64)
    np.maximum.at(splits, component[is_used], colors[is_used])
    return splits


def _described(graph: LeakGraph, colors: np.ndarray, bridges: np.ndarray) -> list[SetAside]:
    """Names for each bridge the image that it would leak to."""
    component = graph.components()
    split_of_node = _component_splits(component, colors, graph.is_used)[component]
    ties = graph.ties()
    # A group stands for its first image in use.
    image_of = np.arange(graph.num_nodes)
    image_of[graph.num_images :] = graph.num_nodes
    members = ties[ties[:, 1] >= graph.num_images]
    np.minimum.at(image_of, members[:, 1], members[:, 0])
    described = []
    for image, neighbours in zip(bridges, graph.neighbours(bridges), strict=True):
        used = neighbours[graph.is_used[neighbours]]
        strongest = used[split_of_node[used] == split_of_node[used].max()]
        described.append(SetAside(int(image), int(image_of[strongest].min()), SPLIT_BRIDGE))
    return described
