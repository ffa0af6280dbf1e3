"""Small wrong changes to a Python file. Pure: text in, texts out."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

SWAPPED = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "is": "is not", "is not": "is",
    "in": "not in", "not in": "in", "and": "or", "or": "and", "+": "-", "-": "+", "*": "/", "/": "*",
}  # fmt: skip
STATEMENTS = (ast.Expr, ast.Assign, ast.AugAssign, ast.Delete)
TYPES = (ast.AnnAssign, ast.arg)


@dataclass(frozen=True, slots=True)
class Change:
    """One change: the characters from `start` to `end` of the file become `new`."""

    start: int
    end: int
    line: int
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The file with this change."""
        return text[: self.start] + self.new + text[self.end :]

    def __str__(self) -> str:
        return f"{self.line}: {self.old.splitlines()[0].strip()} -> {self.new}"


class Source:
    """A file, and where its nodes lie in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._lines = [0]
        for line in text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line.encode()))
        self._bytes = text.encode()

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Its first character and the one behind its last."""
        assert isinstance(node, (ast.expr, ast.stmt))
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._lines[node.lineno - 1] + node.col_offset
        end = self._lines[node.end_lineno - 1] + node.end_col_offset
        return len(self._bytes[:start].decode()), len(self._bytes[:end].decode())

    def change(self, start: int, end: int, new: str) -> Change:
        line = self.text.count("\n", 0, start) + 1
        return Change(start, end, line, self.text[start:end], new)

    def between(self, before: ast.AST, after: ast.AST, operator: str) -> Iterator[Change]:
        """The operator between two operands, swapped."""
        start, end = self.span(before)[1], self.span(after)[0]
        at = self.text.find(operator, start, end)
        if at >= 0 and operator in SWAPPED:
            yield self.change(at, at + len(operator), SWAPPED[operator])


WORDS: dict[type, str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is",
    ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in", ast.And: "and", ast.Or: "or", ast.Add: "+", ast.Sub: "-",
    ast.Mult: "*", ast.Div: "/",
}  # fmt: skip


def changes(text: str) -> list[Change]:
    """Every change of this file, in the order of its lines; types, docstrings and declarations are left alone."""
    source = Source(text)
    found = [change for node in _code(source.tree) for change in _of(source, node)]
    return sorted(set(found), key=lambda change: (change.start, change.end, change.new))


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that do something when they run; what a function is declared with does not."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, TYPES):
            yield from _code_of_value(child)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from (node for statement in child.body for node in [statement, *_code(statement)])
        elif not isinstance(child, (ast.Import, ast.ImportFrom, ast.JoinedStr)):
            yield child
            yield from _code(child)


def _code_of_value(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        yield node.value
        yield from _code(node.value)


def _of(source: Source, node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=operators, comparators=right):
            for before, operator, after in zip([left, *right], operators, right, strict=False):
                yield from source.between(before, after, WORDS[type(operator)])
        case ast.BoolOp(op=operator, values=values):
            for before, after in itertools.pairwise(values):
                yield from source.between(before, after, WORDS[type(operator)])
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in WORDS:
            yield from source.between(left, right, WORDS[type(operator)])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            start, _ = source.span(node)
            yield source.change(start, source.span(operand)[0], "")
        case ast.Constant(value=bool(value)):
            yield source.change(*source.span(node), str(not value))
        case ast.Constant(value=int() | float() as value):
            for other in (value + 1, value - 1):
                yield source.change(*source.span(node), repr(other))
        case ast.Return(value=ast.expr() as value) if getattr(value, "value", "") is not None:  # else it is no change
            yield source.change(*source.span(node), "return None")
        case ast.Expr(value=ast.Constant()):
            return
        case ast.stmt() if isinstance(node, STATEMENTS) and node.col_offset:
            yield source.change(*source.span(node), "pass")
