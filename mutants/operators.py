"""The operators of mutation: source text -> mutants, each with one small fault.

Comparisons, boolean and arithmetic operators are exchanged, operands of `and` and `or` dropped, conditions negated,
constants changed, returned values replaced by None, statements and keyword arguments removed. Defaults of arguments
are constants. Left alone are annotations, names of types, decorators, assertions, f-strings, docstrings and texts
for people, which are strings with a space.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple


class Mutant(NamedTuple):
    """A module with one fault, and the lines (from 1) that the fault spans."""

    path: str
    line: int
    end_line: int
    operator: str
    source: str


_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
}


def mutate(path: str, source: str) -> list[Mutant]:
    """Return all mutants of a module, in the order of their places. A few are no valid Python."""
    lines = source.splitlines(keepends=True)
    mutants = [
        Mutant(path, node.lineno, node.end_lineno or node.lineno, operator, _replace(lines, node, text))
        for node, operator, text in _faults(ast.parse(source))
    ]
    return sorted(mutants, key=lambda mutant: (mutant.line, mutant.operator, mutant.source))


Node = ast.stmt | ast.expr | ast.keyword


def _replace(lines: list[str], node: Node, text: str) -> str:
    """Put `text` in place of the node. Offsets of columns are bytes."""
    end_line = node.end_lineno or node.lineno
    before = lines[node.lineno - 1].encode()[: node.col_offset].decode()
    after = lines[end_line - 1].encode()[node.end_col_offset :].decode()
    if not text:  # a removed argument takes its comma along
        after = after.removeprefix(",")
    return "".join([*lines[: node.lineno - 1], before, text, after, *lines[end_line:]])


def _faults(tree: ast.AST) -> Iterator[tuple[Node, str, str]]:
    for node in _walk(tree):
        if isinstance(node, ast.expr):
            yield from _in_expression(node)
        elif isinstance(node, ast.stmt):
            yield from _in_statement(node)
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node, f"keyword {node.arg} removed", ""


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that may have faults."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Assert | ast.Import):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring
            if isinstance(child, ast.Call) and ast.unparse(child.func) in ("NewType", "TypeVar"):
                continue  # their names mean nothing when the code runs
            yield child
            yield from _walk(child)


def _in_expression(node: ast.expr) -> Iterator[tuple[Node, str, str]]:
    if isinstance(node, ast.Compare):
        for index, comparison in enumerate(node.ops):
            changed = copy.deepcopy(node)
            changed.ops[index] = _COMPARISONS[type(comparison)]()
            yield node, "comparison", _text(changed)
    elif isinstance(node, ast.BoolOp):
        changed_bool = copy.deepcopy(node)
        changed_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield node, "and/or", _text(changed_bool)
        for index in range(len(node.values)):
            rest = [value for place, value in enumerate(node.values) if place != index]
            yield node, "operand dropped", _text(ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0])
    elif isinstance(node, ast.BinOp):
        changed_binary = copy.deepcopy(node)
        changed_binary.op = _ARITHMETIC[type(node.op)]()
        yield node, "arithmetic", _text(changed_binary)
    elif isinstance(node, ast.UnaryOp):
        yield node, "unary operator dropped", _text(node.operand)
    elif isinstance(node, ast.IfExp):
        yield node.test, "condition negated", _text(ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant):
        for value in _other_constants(node.value):
            yield (
                node,
                "constant",
                f"({value!r})" if isinstance(value, int | float) and value < 0 else repr(value),
            )


def _in_statement(node: ast.stmt) -> Iterator[tuple[Node, str, str]]:
    if isinstance(node, ast.If | ast.While):
        yield node.test, "condition negated", _text(ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Return):
        if node.value is not None and not _is_none(node.value):
            yield node, "return value", "return None"
    elif isinstance(node, ast.AugAssign):
        changed = copy.deepcopy(node)
        changed.op = _ARITHMETIC[type(node.op)]()
        yield node, "arithmetic", ast.unparse(changed)
        yield node, "statement removed", "pass"
    elif _is_removable(node):
        yield node, "statement removed", "pass"


def _is_removable(node: ast.stmt) -> bool:
    """Return whether the statement may be removed. Without the assignment of a name there would only be a NameError."""
    if isinstance(node, ast.Assign):
        return not isinstance(node.targets[0], ast.Name | ast.Tuple)
    return isinstance(node, ast.Expr | ast.Raise | ast.Continue | ast.Break)


def _other_constants(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
        if value > 1:
            yield value - 1
    elif isinstance(value, float):
        yield value * 2 if value else 1.0
    elif isinstance(value, str):
        if " " not in value.strip():
            yield f"{value}X"
    elif isinstance(value, bytes):
        yield value + b"X"


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"
