"""Clauses that BigQuery and DuckDB write, or name the results of, in different ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp


def reshape(tree: exp.Expr) -> None:
    """Change a statement's clauses to DuckDB's, before its tables are looked up.

    :raises ApiError: 501 for what has no counterpart.
    """
    from sqlglot import exp

    for update in tree.find_all(exp.Update):
        _unqualify(update)
    for pivot in list(tree.find_all(exp.Pivot)):
        if pivot.args.get("unpivot"):
            _values_first(pivot)
        else:
            _name_pivoted(pivot)


def _unqualify(update: exp.Update) -> None:
    """Leave the table's alias out on the left of SET, where DuckDB wants none."""
    from sqlglot import exp

    merge = update.find_ancestor(exp.Merge)
    target = merge.this if merge is not None else update.this
    names = {target.alias_or_name.lower()}
    for assignment in update.expressions:
        column = assignment.this
        if isinstance(column, exp.Column) and len(column.parts) == 2 and column.table.lower() in names:
            column.set("table", None)


def _name_pivoted(pivot: exp.Pivot) -> None:
    """Name the columns as BigQuery does, by the aggregation first: ``n_ct``."""
    from sqlglot import exp

    aggregations = pivot.expressions
    is_named = any(isinstance(aggregation, exp.Alias) for aggregation in aggregations)
    if not is_named and len(aggregations) > 1:
        raise ApiError(501, "The emulator's PIVOT needs a name for each of several aggregations.")
    if len(aggregations) > 1 or len(pivot.args["fields"]) > 1:
        raise ApiError(501, "The emulator's PIVOT takes one aggregation.")
    prefix, field = f"{aggregations[0].alias}_" if is_named else "", pivot.args["fields"][0]
    values: list[Any] = []
    for value in field.expressions:
        if isinstance(value, exp.PivotAlias):
            of, name = value.this, prefix + value.alias
        else:
            of, name = value, _name_of_value(value, prefix)
        values.append(exp.PivotAlias(this=of.copy(), alias=exp.to_identifier(name, quoted=True)))
    field.set("expressions", values)
    if is_named:
        pivot.set("expressions", [aggregations[0].this.copy()])


def _name_of_value(value: exp.Expr, prefix: str) -> str:
    """Return the name of the column of a PIVOT for a value: ``_1``, ``minus_1``, ``NULL``."""
    from sqlglot import exp

    if isinstance(value, exp.Null):
        return f"{prefix}NULL"
    if isinstance(value, exp.Boolean):
        return prefix + str(value.this).upper()
    if isinstance(value, exp.Literal) and value.is_string:
        return prefix + (value.name or ("_" if prefix else "") + "empty_string_value")
    number = value.this if isinstance(value, exp.Neg) else value
    if not isinstance(number, exp.Literal) or not number.name.isdigit():
        raise ApiError(501, f"The emulator's PIVOT needs a name for the column of {value.sql('bigquery')}.")
    if number is not value:
        return f"{prefix}minus_{number.name}"
    return f"{prefix}{number.name}" if prefix else f"_{number.name}"


def _values_first(pivot: exp.Pivot) -> None:
    """Put the values of an UNPIVOT before the names, as BigQuery's ``*`` has them."""
    from sqlglot import exp

    source, field = pivot.parent, pivot.args["fields"][0]
    if source is None or len(pivot.expressions) != 1 or not isinstance(pivot.expressions[0], exp.Identifier):
        raise ApiError(501, "The emulator's UNPIVOT has one column of values.")
    value, name = pivot.expressions[0].name, field.this.name
    alias = pivot.args.get("alias")
    pivot.set("alias", None)
    columns = [exp.Star(except_=[exp.to_identifier(value), exp.to_identifier(name)]), exp.column(value), exp.column(name)]
    joins = source.args.get("joins")
    source.set("joins", None)
    select = exp.Select(expressions=columns).from_(source.copy())
    source.replace(exp.Subquery(this=select, alias=alias, joins=joins))
