"""Compute an expression on a table, by Arrow's kernels: integers that overflow are an error, nulls stay nulls."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from updraft.etl.expression import BadExpression, Expression
from updraft.usecase.messages import nearest

DAY = 86_400_000_000  # microseconds
Values = Any  # an array, a chunked array or a scalar of Arrow's

_BINARY: dict[type[ast.operator], Callable[[Values, Values], Values]] = {
    ast.Add: lambda a, b: pc.binary_join_element_wise(a, b, "") if _is_text(a) else pc.add_checked(a, b),
    ast.Sub: pc.subtract_checked,
    ast.Mult: pc.multiply_checked,
    ast.Div: lambda a, b: pc.divide(_real(a), _real(b)),
    ast.Pow: lambda a, b: pc.power(_real(a), _real(b)),
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Values, Values], Values]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
FUNCTIONS: dict[str, Callable[..., Values]] = {
    "abs": pc.abs_checked,
    "floor": pc.floor,
    "ceil": pc.ceil,
    "sqrt": lambda a: pc.sqrt(_real(a)),
    "exp": lambda a: pc.exp(_real(a)),
    "log": lambda a: pc.ln(_real(a)),
    "log10": lambda a: pc.log10(_real(a)),
    "round": lambda a, digits=None: pc.round(a, ndigits=digits.as_py() if digits else 0),
    "float": lambda a: _real(a),
    "int": lambda a: pc.cast(a, pa.int64()),
    "text": lambda a: pc.cast(a, pa.string()),
    "lower": pc.utf8_lower,
    "upper": pc.utf8_upper,
    "trim": pc.utf8_trim_whitespace,
    "length": lambda a: pc.cast(pc.utf8_length(a), pa.int64()),
    "contains": lambda a, part: pc.match_substring(a, part.as_py()),
    "starts_with": lambda a, part: pc.starts_with(a, part.as_py()),
    "ends_with": lambda a, part: pc.ends_with(a, part.as_py()),
    "is_null": pc.is_null,
    "year": pc.year,
    "month": pc.month,
    "day": pc.day,
    "weekday": pc.day_of_week,
    "hour": pc.hour,
    "days_between": lambda a, b: pc.divide(_real(pc.cast(pc.subtract(b, a), pa.int64())), float(DAY)),
    "min": lambda *values: reduce(lambda a, b: pc.if_else(pc.less_equal(a, b), a, b), values),
    "max": lambda *values: reduce(lambda a, b: pc.if_else(pc.greater_equal(a, b), a, b), values),
    "coalesce": pc.coalesce,
    "where": pc.if_else,
}


def compute(expression: Expression, table: pa.Table) -> pa.ChunkedArray:
    """Compute an expression, one value for each row; raise BadExpression where its types do not go together."""
    try:
        result = _compute(expression.tree, expression, table)
    except (pa.ArrowException, TypeError, AttributeError, OverflowError) as error:
        raise BadExpression(f"{expression.text!r}: {' '.join(str(error).split())[:300]}") from None
    if isinstance(result, pa.Scalar):
        result = pa.repeat(result, table.num_rows)
    return result if isinstance(result, pa.ChunkedArray) else pa.chunked_array([result])


def compute_by_row(expression: Expression, table: pa.Table) -> tuple[pa.ChunkedArray, list[int]]:
    """Compute an expression where it can be; also return the indices of rows whose values give no result, only null.

    Raises BadExpression where the types do not go together, whatever the values. Halving finds a few such rows fast.
    """
    table = table.select(expression.names) if expression.names else table
    type_ = compute(expression, table.slice(0, 0)).type
    chunks: list[pa.Array] = []
    failed: list[int] = []
    parts = [(0, table.num_rows)]
    while parts:
        start, end = parts.pop()
        try:
            chunks += compute(expression, table.slice(start, end - start)).chunks
        except BadExpression:
            if end - start == 1:
                failed.append(start)
                chunks.append(pa.nulls(1, type_))
            else:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
    values = pa.chunked_array(chunks, type_)
    return pa.chunked_array([values.combine_chunks()]) if failed else values, failed


def _compute(node: ast.expr, expression: Expression, table: pa.Table) -> Values:
    def value(part: ast.expr) -> Values:
        return _compute(part, expression, table)

    match node:
        case ast.Name(id=name):
            return _column(expression.columns.get(name, name), table)
        case ast.Constant(value=constant):
            return pa.scalar(constant)
        case ast.BinOp():
            terms = []
            while isinstance(node, ast.BinOp):
                terms.append((node.op, node.right))
                node = node.left
            return reduce(lambda sum_, term: _BINARY[type(term[0])](sum_, value(term[1])), reversed(terms), value(node))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return pc.invert(value(operand))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return pc.negate_checked(value(operand))
        case ast.UnaryOp(operand=operand):
            return value(operand)
        case ast.BoolOp(op=op, values=parts):
            return reduce(pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene, map(value, parts))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _compare(value(left), op, right, value)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name](*map(value, arguments))
    raise BadExpression(f"{ast.unparse(node)!r} is not allowed")


def _column(name: str, table: pa.Table) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise BadExpression(f"no column {name!r}{nearest(name, table.column_names)}")
    return table[name]


def _compare(left: Values, op: ast.cmpop, right: ast.expr, value: Callable[[ast.expr], Values]) -> Values:
    if not isinstance(right, ast.Tuple | ast.List):
        return _COMPARISONS[type(op)](left, value(right))
    members = pa.array([member.value for member in right.elts if isinstance(member, ast.Constant)])
    among = pc.is_in(left, value_set=members.cast(left.type))
    among = pc.if_else(pc.is_null(left), pa.scalar(None, pa.bool_()), among)
    return among if isinstance(op, ast.In) else pc.invert(among)


def _real(values: Values) -> Values:
    return pc.cast(values, pa.float64())


def _is_text(values: Values) -> bool:
    return bool(pa.types.is_string(values.type))
