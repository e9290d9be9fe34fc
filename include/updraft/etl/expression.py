"""Expressions of derived columns: a white list of Python's grammar, computed by Arrow's checked kernels.

pandas' own `eval` would do, but for integers that overflow without a word, nulls that turn into NaN, and no condition.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

LONGEST, DEEPEST = 2_000, 40  # characters of an expression, and how deep its parts are nested
# A function → how many arguments it takes, at least and at most.
ARITIES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("abs", "floor", "ceil", "sqrt", "exp", "log", "log10", "float", "int", "text"), (1, 1)),
    **dict.fromkeys(("lower", "upper", "trim", "length", "is_null"), (1, 1)),
    **dict.fromkeys(("year", "month", "day", "weekday", "hour"), (1, 1)),
    **dict.fromkeys(("contains", "starts_with", "ends_with", "days_between"), (2, 2)),
    **dict.fromkeys(("min", "max", "coalesce"), (2, 20)),
    "round": (1, 2),
    "where": (3, 3),
}
# Functions whose second argument is a constant of this type.
CONSTANTS: dict[str, type] = {"contains": str, "starts_with": str, "ends_with": str, "round": int}
# A column in backticks, and text constants, in which a backtick is one.
_QUOTED = re.compile(r"""`([^`]+)`|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
_GRAMMAR = "expected columns, numbers, texts, + - * / **, comparisons, in (…), and, or, not, and functions"


class BadExpression(ValueError):
    """An expression that is not of the grammar, or does not fit the types of its columns."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression. `tree` names columns by identifiers: `columns` has the column of each."""

    text: str
    tree: ast.expr
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Return the columns that it uses, in their order."""
        called = {id(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        used = (node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and id(node) not in called)
        return list(dict.fromkeys(self.columns.get(name, name) for name in used))


def parse_expression(text: str, known: Sequence[str] = ()) -> Expression:
    """Parse an expression; a column whose name is no word stands in backticks. Raises BadExpression."""
    if len(text) > LONGEST:
        raise BadExpression(f"has {len(text):,} characters, expected at most {LONGEST:,}")
    columns: dict[str, str] = {}

    def identifier(match: re.Match[str]) -> str:
        if match[1] is None:  # a text constant
            return match[0]
        name = f"column{len(columns)}_"
        while name in known:
            name += "_"
        columns[name] = match[1]
        return name

    plain = _QUOTED.sub(identifier, text.strip())
    words = _QUOTED.sub("", plain)
    if unicodedata.normalize("NFKC", words) != words:  # as Python reads names
        raise BadExpression(f"{text!r} has a name that Unicode spells in several ways; expected it in backticks")
    try:
        tree = ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadExpression(f"{text!r} is not an expression: {_GRAMMAR}") from None
    _check(tree, DEEPEST)
    return Expression(text, tree, columns)


def _check(node: ast.expr, depth: int) -> None:
    """Raise BadExpression for anything that is not on the white list."""
    while isinstance(node, ast.BinOp) and isinstance(node.op, _BINARY) and isinstance(node.left, ast.BinOp):
        _check(node.right, depth - 1)  # a chain of terms, a + b + c, is not nested, however long
        node = node.left
    if depth == 0:
        raise BadExpression(f"is nested deeper than {DEEPEST} levels")
    match node:
        case ast.Name():
            return
        case ast.Constant(value=str(value)) if _SURROGATE.search(value):
            raise BadExpression(f"{value!r} is no text: half of a surrogate pair")
        case ast.Constant(value=bool() | int() | float() | str()):
            return
        case ast.BinOp(op=op, left=left, right=right) if isinstance(op, _BINARY):
            parts = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
            parts = [operand]
        case ast.BoolOp(values=parts):
            pass
        case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, _COMPARISONS):
            parts = [left, *_members(op, right)]
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]):
            _check_call(name, parts)
        case _:
            raise BadExpression(f"{ast.unparse(node)!r} is not allowed: {_GRAMMAR}")
    for part in parts:
        _check(part, depth - 1)


def _members(op: ast.cmpop, right: ast.expr) -> list[ast.expr]:
    """Return what stands after a comparison; after `in` that is constants in brackets."""
    if not isinstance(op, ast.In | ast.NotIn):
        return [right]
    if not isinstance(right, ast.Tuple | ast.List) or not all(isinstance(each, ast.Constant) for each in right.elts):
        raise BadExpression(f"{ast.unparse(right)!r}: expected numbers or texts in brackets after in")
    return list(right.elts)


def _check_call(name: str, arguments: list[ast.expr]) -> None:
    if name not in ARITIES:
        raise BadExpression(f"no function {name!r}; there are: {', '.join(sorted(ARITIES))}")
    least, most = ARITIES[name]
    if not least <= len(arguments) <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise BadExpression(f"{name} takes {expected} arguments, found {len(arguments)}")
    second = arguments[1] if name in CONSTANTS and len(arguments) > 1 else None
    if second and not (isinstance(second, ast.Constant) and type(second.value) is CONSTANTS[name]):
        kind = "a text" if CONSTANTS[name] is str else "a whole number"
        raise BadExpression(f"{name}: its second argument is {kind}, found {ast.unparse(second)!r}")
