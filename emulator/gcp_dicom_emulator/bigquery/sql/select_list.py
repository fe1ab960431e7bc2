"""What the aliases and the numbers of a SELECT's items mean in its clauses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds
from gcp_dicom_emulator.bigquery.sql.calls import call
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.bigquery.sql.scopes import RESOLVED

if TYPE_CHECKING:
    from sqlglot import exp

#: The key of a node's ``meta`` that says that other items of the SELECT have its name.
_AMBIGUOUS = "ambiguous"


def note_alias(aliases: dict[str, exp.Expr], name: str | None, item: exp.Expr) -> None:
    """Note an item of a SELECT by its name."""
    if name:
        if name.lower() in aliases:
            item.meta[_AMBIGUOUS] = True
        aliases[name.lower()] = item


def refuse_ambiguous(name: exp.Expr, item: exp.Expr | None, message: str) -> None:
    """Refuse a name that several items have."""
    if item is not None and item.meta.get(_AMBIGUOUS):
        raise invalid_query(f"{message} at {position(name)}")


def put_aliases(clause: exp.Expr | None, aliases: dict[str, exp.Expr]) -> None:
    """Put what an alias of SELECT means in its place: DuckDB would take a column of the same name first."""
    from sqlglot import exp

    if clause is None:
        return
    for column in list(clause.find_all(exp.Column)):
        if len(column.parts) != 1 or column.find_ancestor(exp.Query) is not clause.find_ancestor(exp.Query):
            continue
        aliased = aliases.get(column.name.lower())
        if aliased is not None and not isinstance(column.parent, exp.Star):
            value = aliased.this if isinstance(aliased, exp.Alias) else aliased
            is_path = isinstance(value, (exp.Column, exp.Dot))
            made = kinds.put(value.copy() if is_path else exp.paren(value), kinds.of(value))
            made.meta[RESOLVED] = True
            column.replace(made)


def put_numbered(sets: exp.Expr, items: list[Any]) -> None:
    """Put the items of a SELECT in the place of their numbers, which DuckDB takes for constants in grouping sets."""
    from sqlglot import exp

    for number in list(sets.find_all(exp.Literal)):
        inside = isinstance(number.parent, (exp.Rollup, exp.Cube, exp.GroupingSets, exp.Tuple, exp.Paren))
        if inside and not number.is_string and number.name.isdigit() and 1 <= int(number.name) <= len(items):
            item = items[int(number.name) - 1]
            value = item.this if isinstance(item, exp.Alias) else item
            made = value.copy() if isinstance(value, (exp.Column, exp.Dot)) else exp.paren(value)
            made.meta[RESOLVED] = True
            number.replace(made)


def note_numbered(key: exp.Expr, items: list[Any]) -> None:
    """Note at a number in ORDER BY which item of the SELECT it means."""
    from sqlglot import exp

    if isinstance(key, exp.Literal) and key.name.isdigit() and 1 <= int(key.name) <= len(items):
        if any(item.is_star for item in items):
            return
        item = items[int(key.name) - 1]
        key.meta["means"] = item.this if isinstance(item, exp.Alias) else item
        kinds.put(key, kinds.of(item))


def compute_anew(select: exp.Select) -> None:
    """Let an expression be worked out of a column of it where grouping sets have both: ``GROUPING SETS(a, a + 1)``."""
    from sqlglot import exp

    group = select.args.get("group")
    keys = (
        [key for sets in group.find_all(exp.GroupingSets, exp.Rollup, exp.Cube) for key in _keys(sets)]
        if group is not None
        else []
    )
    plain = [key.unnest() for key in keys if isinstance(key.unnest(), (exp.Column, exp.Dot))]
    computed = [key for key in keys if key not in plain and not isinstance(key, exp.Literal) and not key.meta_get(RESOLVED)]
    clauses = [*select.expressions, *(select.args[name] for name in ("having", "order") if select.args.get(name))]
    for key in computed:
        for clause in clauses:
            for found in [node for node in clause.find_all(type(key)) if node == key]:
                for column in [node for node in found.find_all(exp.Column, exp.Dot) if node in plain]:
                    column.replace(kinds.put(call("bq_same", column.copy()), kinds.of(column)))


def _keys(sets: exp.Expr) -> list[Any]:
    from sqlglot import exp

    found = []
    for key in sets.expressions:
        if isinstance(key, exp.Tuple):
            found += _keys(key)
        elif not isinstance(key, (exp.Rollup, exp.Cube, exp.GroupingSets)):
            found.append(key)
    return found
