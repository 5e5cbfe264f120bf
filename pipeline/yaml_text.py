"""YAML from people's files: PyYAML's safe values, less what hides a mistake or fills the memory.

Refused besides what PyYAML refuses: a key twice in one mapping (the first would be lost unnoticed),
depth that ends Python's stack, and aliases that stand for more than they say ("billion laughs",
https://en.wikipedia.org/wiki/Billion_laughs_attack).
"""

from __future__ import annotations

from typing import Any

import yaml

_MAX_DEPTH = 50
_MAX_VALUES = 100_000  # aliases written out
_MAX_DIGITS = 100  # a float has no room for more than 309, hexadecimal ones 256
_INTEGER = "tag:yaml.org,2002:int"
MAX_CHARACTERS = 4 << 20  # PyYAML reads about a megabyte in ten seconds


def load(text: str) -> Any:
    """The values of one document.

    Raises:
        yaml.YAMLError: It is no YAML, or one that is refused.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    # PyYAML's constructors let these through for `!!int x`, `2024-99-99`, `!!bool x`, `!!int ""`.
    except (ValueError, AttributeError, TypeError, LookupError, OverflowError) as error:
        if isinstance(error, yaml.YAMLError):
            raise
        raise yaml.YAMLError(f"a value is not what its form says: {error}") from error


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # by id of a finished node: values, aliases written out

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _refused(f"values more than {_MAX_DEPTH} levels deep", mark)
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias and id(node) not in self._sizes:
            raise _refused("an alias inside of what it stands for", mark)
        size = self._sizes.setdefault(id(node), 1 + sum(map(self._size, _children(node))))
        if size > _MAX_VALUES:
            raise _refused(f"aliases that stand for more than {_MAX_VALUES} values", mark)
        return node

    def _size(self, node: yaml.Node) -> int:
        return self._sizes[id(node)]

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag == _INTEGER and len(node.value) > _MAX_DIGITS:
            raise _refused(f"a number of {len(node.value)} digits", node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise _refused(f"the key {key.value[:60]!r} a second time", key.start_mark)
            seen.add((key.tag, key.value))
        return node


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refused(what: str, mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, f"found {what}", mark)
