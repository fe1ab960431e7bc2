"""Refuses what the columns of a statement do not allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.bigquery.sql.scopes import Output, Scope, Source
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp


def check_sources(sources: list[Source], select: exp.Expr) -> None:
    """Refuse a FROM that gives one name to two sources."""
    seen: set[str] = set()
    for source in sources:
        name = source.alias.lower()
        if source.is_named and name and name in seen:
            raise invalid_query(f"Duplicate table alias {source.alias} in the same FROM clause at {position(select)}")
        seen.add(name)


def check_sorted(key: exp.Expr, select: exp.Select) -> None:
    """Refuse to sort a SELECT DISTINCT by a column that is not in its list."""
    from sqlglot import exp

    if select.args.get("distinct") is None or not isinstance(key, exp.Column) or key.meta_get("means") is not None:
        return
    # A STRUCT in the list, as the row of a source, may have it inside.
    structs = [item for item in select.expressions if getattr(kinds.of(item), "name", "STRUCT") == "STRUCT"]
    if not structs and not any(item.is_star or item.unalias() == key for item in select.expressions):
        raise invalid_query(
            f"ORDER BY clause expression references column {key.name} which is not visible after SELECT DISTINCT at {position(key)}"
        )


def check_count(count: int, columns: list[Any], message: str, node: exp.Expr) -> None:
    """Refuse to insert more or fewer values than there are columns."""
    if columns and count != len(columns):
        raise invalid_query(f"{message}; Has {count}, expected {len(columns)} at {position(node)}")


def check_one_column(outputs: list[Output] | None, query: exp.Expr, what: str) -> None:
    """Refuse a subquery of several columns where one value is wanted.

    :param what: ``Scalar``, ``ARRAY`` or ``IN``.
    """
    if outputs is None or len(outputs) == 1:
        return
    if what == "IN":
        raise invalid_query(f"Subquery of type IN must have only one output column at {position(query)}")
    advice = "unless using SELECT AS STRUCT to build STRUCT values"
    raise invalid_query(f"{what} subquery cannot have more than one column {advice} at {position(query)}")


def check_offset(table: exp.Table) -> None:
    """Refuse WITH OFFSET behind what is not an array."""
    if table.meta.get("offset") is not None:
        raise invalid_query(f"WITH OFFSET can only be used with array scans at {position(table)}")


def check_using(column: exp.Expr, having: list[Source], scope: Scope) -> None:
    """Refuse a column of USING that not both sides have, or whose types cannot be compared."""
    # The value of an UNNEST is a column by its alias, which is not a field.
    if any(source.is_open or source.is_value for source in scope.sources):
        return
    last = scope.sources[-1]
    for is_there, side in ((any(source is not last for source in having), "left"), (last in having, "right")):
        if not is_there:
            raise invalid_query(f"Column {column.name} in USING clause not found on {side} side of join at {position(column)}")
    one, other = (kinds.of(source.column(column.name)) for source in (having[0], last))
    if one is not None and other is not None and kinds.common([one, other]) is None:
        raise invalid_query(
            f"Column {column.name} in USING has incompatible types that cannot be directly compared using equality on either side "
            f"of the join: {one} and {other} at {position(column)}"
        )


def check_star(star: exp.Expr, outputs: list[Output] | None) -> None:
    """Refuse EXCEPT and REPLACE of columns that are not there, or are named twice."""
    known = None if outputs is None else {(output.name or output.inner).lower() for output in outputs}
    for key, word in (("except_", "EXCEPT"), ("replace", "REPLACE")):
        seen: set[str] = set()
        for item in star.args.get(key) or []:
            name = item.alias if key == "replace" else item.name
            if known is not None and name.lower() not in known:
                raise invalid_query(f"Column {name} in SELECT * {word} list does not exist at {position(item)}")
            if name.lower() in seen:
                raise invalid_query(f"Duplicate column {name} in SELECT * {word} list at {position(item)}")
            seen.add(name.lower())


def check_by_name(operations: list[Any], sides: list[list[Output] | None]) -> None:
    """Refuse a set operation BY NAME whose queries have not the same columns, for which DuckDB would make some.

    :param operations: the operations of a chain.
    :param sides: the columns of its queries.
    """
    for node in operations:
        if any(node.args.get(key) for key in ("side", "kind", "on")):
            raise ApiError(501, "The emulator's set operations do not do FULL, LEFT, INNER, ON and CORRESPONDING: only BY NAME.")
    names = [sorted((output.name or "").lower() for output in side) for side in sides if side is not None]
    if any(one != names[0] for one in names):
        raise invalid_query(
            "BY NAME requires all input queries to have identical column names; use FULL OUTER or LEFT for other columns "
            f"at {position(operations[0])}"
        )
