"""What text an expression of the sources can be: `<name>` where a value goes that only a run knows.

Follows names to their assignments, parameters to the calls of their function, and calls to what
the function returns; within one module, and constants of the whole package by their names.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

MAX_TEXTS = 8  # of one expression; with more, values are not spelled out
_MAX_DEPTH = 6
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(folders: Mapping[str, Path]) -> dict[str, ast.Module]:
    """Parsed modules by their dotted names.

    Args:
        folders: Folder of each package, by the package's name.
    """
    return {
        ".".join((root, *path.relative_to(folder).with_suffix("").parts)): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for root, folder in folders.items()
        for path in sorted(folder.rglob("*.py"))
    }


def constants(trees: Mapping[str, ast.Module]) -> dict[str, str]:
    """Text constants of all modules by name, where a name stands for one text only."""
    found: dict[str, set[str]] = {}
    for tree in trees.values():
        for node in tree.body:
            for name, value in _assigned(node):
                if name.isupper() and isinstance(value, ast.Constant | ast.BinOp):
                    for text in _plain(value):
                        found.setdefault(name, set()).add(text)
    return {name: texts.pop() for name, texts in found.items() if len(texts) == 1}


def _plain(node: ast.expr) -> list[str]:
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of an assignment, `a, b = 1, 2` too."""
    if isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name):
        if node.value is not None:
            yield node.target.id, node.value
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield node.target.id, ast.BinOp(ast.Name(f"{node.target.id} "), ast.Add(), node.value)
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts, strict=False):
                    if isinstance(one, ast.Name):
                        yield one.id, value


@dataclasses.dataclass(frozen=True)
class Source:
    """One module, to ask what its expressions can be.

    Attributes:
        tree: The module.
        known: Text constants of the package.
    """

    tree: ast.Module
    known: Mapping[str, str]

    @functools.cached_property
    def calls(self) -> list[tuple[_Function | None, ast.Call]]:
        """Every call with the innermost function that it stands in."""
        return list(self._calls(self.tree, None))

    @functools.cached_property
    def _functions(self) -> dict[str, _Function]:
        return {node.name: node for node in self.tree.body if isinstance(node, _Function)}

    @functools.cached_property
    def _of_module(self) -> list[tuple[str, ast.expr]]:
        return [pair for node in self.tree.body for pair in _assigned(node)]

    def _calls(
        self, node: ast.AST, function: _Function | None
    ) -> Iterator[tuple[_Function | None, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield function, child
            inner = child if isinstance(child, _Function) else function
            yield from self._calls(child, inner)

    def texts(
        self, node: ast.expr | None, function: _Function | None, depth: int = _MAX_DEPTH
    ) -> list[str]:
        """What the expression can be, shown in one line; at least one text."""
        found = self._texts(node, function, depth)
        return list(dict.fromkeys(found)) if len(found) <= MAX_TEXTS else [_placeholder(node)]

    def _texts(self, node: ast.expr | None, function: _Function | None, depth: int) -> list[str]:
        if node is None or not depth:
            return [_placeholder(node)]
        if isinstance(node, ast.Constant):
            return [str(node.value)] if node.value is not None else [""]
        if isinstance(node, ast.JoinedStr):
            return self._product(node.values, function, depth)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._product([node.left, node.right], function, depth)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):  # "text" * is_so
            return [*self.texts(node.left, function, depth - 1), ""]
        if isinstance(node, ast.FormattedValue):
            return self._value(node.value, function, depth)
        if isinstance(node, ast.IfExp):
            both = (self.texts(one, function, depth - 1) for one in (node.body, node.orelse))
            return [text for texts in both for text in texts]
        return self._value(node, function, depth)

    def _value(self, node: ast.expr, function: _Function | None, depth: int) -> list[str]:
        """Of what stands for a text: a name, a call; anything else is a placeholder."""
        if isinstance(node, ast.IfExp | ast.JoinedStr | ast.Constant):
            return self._texts(node, function, depth)
        if isinstance(node, ast.Attribute) and node.attr in self.known:
            return [self.known[node.attr]]
        if isinstance(node, ast.Name):
            return self._name(node.id, function, depth)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = self._functions.get(node.func.id)
            if called is not None:
                returned = [one.value for one in ast.walk(called) if isinstance(one, ast.Return)]
                found = [text for one in returned for text in self.texts(one, called, depth - 1)]
                if found and not all(_is_open(text) for text in found):
                    return found
        return [_placeholder(node)]

    def _name(self, name: str, function: _Function | None, depth: int) -> list[str]:
        values = self._values(name, function)
        found = [text for one in values for text in self.texts(one, function, depth - 1)]
        if not values and function is not None:
            found = self._arguments(name, function, depth)
        if found and not all(_is_open(text) for text in found):
            return [text.replace(f"<{name}>", "") for text in found]
        return [self.known[name]] if name in self.known else [f"<{name.strip('_ ')}>"]

    def _values(self, name: str, function: _Function | None) -> list[ast.expr]:
        nodes = ast.walk(function) if function is not None else iter(())
        values = [value for node in nodes for one, value in _assigned(node) if one == name]
        return values or [value for one, value in self._of_module if one == name]

    def _arguments(self, name: str, function: _Function, depth: int) -> list[str]:
        """What callers in this module give for a parameter."""
        names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        if name not in names:
            return []
        place = names.index(name) - (names[:1] in (["self"], ["cls"]))
        found = []
        for caller, call in self.calls:
            if caller is function or last_name(call.func) != function.name:
                continue
            given = {one.arg: one.value for one in call.keywords}
            if name in given:
                found += self.texts(given[name], caller, depth - 1)
            elif place < len(call.args):
                found += self.texts(call.args[place], caller, depth - 1)
        return found

    def _product(
        self, nodes: Sequence[ast.expr], function: _Function | None, depth: int
    ) -> list[str]:
        parts = [self.texts(node, function, depth - 1) for node in nodes]
        number = 1
        for place, texts in enumerate(parts):
            number *= len(texts)
            if number > MAX_TEXTS:  # the first ones are the most telling
                parts[place], number = [_placeholder(nodes[place])], number // len(texts)
        return ["".join(texts) for texts in itertools.product(*parts)]


def last_name(function: ast.expr) -> str:
    """The name that is called: `DataError` of `errors.DataError(...)`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_open(text: str) -> bool:
    """Whether the text is a placeholder and nothing else."""
    return text.startswith("<") and text.endswith(">") and text.count("<") == 1


def _placeholder(node: ast.expr | None) -> str:
    return f"<{_label(node)}>"


def _label(node: ast.expr | None) -> str:
    """A short name for a value: its last name in the source."""
    if isinstance(node, ast.FormattedValue):
        return _label(node.value)
    if isinstance(node, ast.Name):
        return node.id.strip("_ ")
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_")
    if isinstance(node, ast.Call):
        if last_name(node.func) == "nearest":
            return "did you mean ...?"
        arguments = [*node.args, node.func]
        return _label(arguments[0])
    if isinstance(node, ast.Subscript):
        is_key = isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
        return _label(node.slice if is_key else node.value)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "..."
