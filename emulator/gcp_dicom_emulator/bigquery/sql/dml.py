"""What INSERT, UPDATE and MERGE leave to their table: default values, the other fields of a struct, one row for each target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import refusals
from gcp_dicom_emulator.bigquery.sql import translation as sql
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.bigquery.sql.types import Field, standard_name
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: The error of a row that would be changed twice.
MATCHED_TWICE = "UPDATE/MERGE must match at most one source row for each target row"


def complete(tree: exp.Expr, fields: list[Field]) -> None:
    """Write out what a statement leaves to its table, before its names are resolved.

    :param fields: the table's columns.
    """
    from sqlglot import exp

    if isinstance(tree, exp.Insert):
        _insert(tree, fields)
    elif isinstance(tree, exp.Update):
        if tree.args.get("from_") and any(field["name"].lower() == "rowid" for field in fields):
            raise ApiError(
                501, "The emulator's UPDATE with FROM takes no table with a column rowid: DuckDB counts rows by that name."
            )
        _update(tree, tree.this.alias_or_name, fields)
    whens = tree.args.get("whens")
    for when in whens.expressions if whens is not None else []:
        then = when.args.get("then")
        _check_action(when, then)
        if isinstance(then, exp.Update):
            _update(then, tree.this.alias_or_name, fields)
        elif isinstance(then, exp.Insert):
            _merged(then, fields)


def _check_action(when: exp.When, then: Any) -> None:
    """Refuse to insert a row where the table has one, and to change one where it has none."""
    from sqlglot import exp

    is_new = not when.args.get("matched") and not when.args.get("source")
    if is_new != isinstance(then, exp.Insert):
        keyword = "INSERT" if isinstance(then, exp.Insert) else "UPDATE" if isinstance(then, exp.Update) else "DELETE"
        raise invalid_query(f"Syntax error: Unexpected keyword {keyword}")


def _insert(tree: exp.Insert, fields: list[Field]) -> None:
    """Put the values of DEFAULT, and those of the columns that an INSERT does not name."""
    from sqlglot import exp

    named = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    names = [column.name for column in named] or [field["name"] for field in fields]
    left_out = _left_out(names, fields)
    given: Any = tree.expression
    if isinstance(given, exp.Values):
        for row in given.expressions:
            refusals.check_count(len(row.expressions), names, "Inserted row has wrong column count", row)
            _put_defaults(row, names, fields)
            for field in left_out:
                row.append("expressions", _default(field))
    elif left_out and isinstance(given, exp.Select) and not given.args.get("distinct"):
        for field in left_out:
            given.append("expressions", _default(field))
    elif left_out:
        query = given.this if isinstance(given, exp.Subquery) else given
        tree.set("expression", exp.select(exp.Star(), *map(_default, left_out)).from_(query.subquery(), copy=False))
    for field in left_out:
        tree.this.append("expressions", exp.to_identifier(str(field["name"]), quoted=True))


def _merged(then: exp.Insert, fields: list[Field]) -> None:
    """Put the default values into the INSERT of a MERGE."""
    from sqlglot import exp

    for key in ("this", "expression"):
        # SQLGlot takes one thing in parentheses for the thing itself.
        if isinstance(one := then.args.get(key), exp.Paren):
            then.set(key, exp.Tuple(expressions=[one.this]))
    first = then.this.expressions[0] if isinstance(then.this, exp.Tuple) else None
    if isinstance(first, exp.Anonymous) and first.name.upper() == "VALUES":
        # Without the names of columns SQLGlot takes VALUES for a function.
        then.set("this", None)
        then.set("expression", exp.Tuple(expressions=first.expressions))
    if not isinstance(then.this, exp.Tuple):
        is_row = isinstance(then.this, exp.Var) and then.this.name.upper() == "ROW"
        then.set(
            "this", exp.Tuple(expressions=[exp.column(exp.to_identifier(str(field["name"]), quoted=True)) for field in fields])
        )
        if is_row:  # all columns of the source, which the resolver knows
            return
    names = [column.name for column in then.this.expressions]
    _check_names(names, fields)
    refusals.check_count(len(then.expression.expressions), names, "Inserted row has wrong column count", then.expression)
    _put_defaults(then.expression, names, fields)
    for field in _left_out(names, fields):
        then.this.append("expressions", exp.column(exp.to_identifier(str(field["name"]), quoted=True)))
        then.expression.append("expressions", _default(field))


def _check_names(names: list[str], fields: list[Field]) -> None:
    known, seen = {field["name"].lower() for field in fields}, set()
    for name in names:
        if name.lower() not in known:
            raise invalid_query(f"Column {name} is not present in target table")
        if name.lower() in seen:
            raise invalid_query(f"MERGE has INSERT operation with duplicated column names: {name}")
        seen.add(name.lower())


def _left_out(names: list[str], fields: list[Field]) -> list[Field]:
    """Return the columns with a default value that are not among the names."""
    named = {name.lower() for name in names}
    return [field for field in fields if field.get("defaultValueExpression") and field["name"].lower() not in named]


def _put_defaults(row: exp.Expr, names: list[str], fields: list[Field]) -> None:
    known = {field["name"].lower(): field for field in fields}
    for name, item in zip(names, list(row.expressions), strict=True):
        if _is_default(item) and name.lower() in known:
            item.replace(_default(known[name.lower()]))


def _is_default(value: exp.Expr) -> bool:
    from sqlglot import exp

    is_name = isinstance(value, exp.Column) and len(value.parts) == 1 and not value.this.args.get("quoted")
    return (is_name or isinstance(value, exp.Var)) and value.name.upper() == "DEFAULT"


def _default(field: Field) -> exp.Expr:
    """Return the default value of a column, which is NULL if it has none."""
    from sqlglot import exp

    text = field.get("defaultValueExpression")
    return sql.parse(f"SELECT ({text})", legacy=False)[0].expressions[0].copy() if text else exp.Null()


def _update(update: exp.Update, alias: str, fields: list[Field]) -> None:
    """Put the default values into SET, and make one assignment of those to fields of one struct, as DuckDB has no others.

    :param alias: the name of the table in the statement.
    """
    from sqlglot import exp

    known = {field["name"].lower(): field for field in fields}
    nested: dict[str, list[tuple[list[str], exp.Expr]]] = {}
    kept = []
    seen: list[list[str]] = []
    for assignment in update.expressions:
        path = _path(assignment.this, alias, known)
        _check_path(path, seen, assignment.this)
        field = known.get(path[0].lower())
        if field is None:
            raise invalid_query(f"Unrecognized name: {path[0]} at {position(assignment.this)}")
        if len(path) > 1:
            nested.setdefault(path[0].lower(), []).append((path[1:], assignment.expression))
            continue
        if _is_default(assignment.expression):
            assignment.set("expression", _default(field))
        kept.append(assignment)
    for name, changes in nested.items():
        column = exp.column(exp.to_identifier(str(known[name]["name"]), quoted=True))
        whole = exp.column(column.this.copy(), table=exp.to_identifier(alias, quoted=True))
        kept.append(exp.EQ(this=column, expression=_changed(known[name], whole, changes)))
    update.set("expressions", kept)


def _check_path(path: list[str], seen: list[list[str]], target: exp.Expr) -> None:
    """Refuse to assign twice to a column or a field, or to a struct and to a field of it.

    :param seen: the paths before it, in lower case; it comes to them.
    """
    names = [name.lower() for name in path]
    for other in seen:
        shorter = min(len(names), len(other))
        if names == other:
            raise invalid_query(f"Update item {'.'.join(path)} assigned more than once at {position(target)}")
        if names[:shorter] == other[:shorter]:
            raise invalid_query(f"Update item {'.'.join(path)} overlaps with {'.'.join(other)} at {position(target)}")
    seen.append(names)


def _path(target: exp.Expr, alias: str, known: dict[str, Field]) -> list[str]:
    """Return the names on the left of an assignment, from that of the column on."""
    from sqlglot import exp

    names = [part.name for part in target.parts] if isinstance(target, (exp.Column, exp.Dot)) else [target.name]
    if len(names) > 1 and names[0].lower() == alias.lower() and names[1].lower() in known:
        return names[1:]
    return names


def _changed(field: Field, whole: exp.Expr, changes: list[tuple[list[str], exp.Expr]]) -> exp.Expr:
    """Return a struct with some of its fields changed; of one that is NULL the other fields are NULL.

    :param whole: the struct as it was.
    :param changes: the path of each field that changes, and its value.
    """
    from sqlglot import exp

    kind = standard_name(field)
    if field["type"] != "RECORD" or field["mode"] == "REPEATED":
        raise invalid_query(f"Cannot access field {changes[0][0][0]} on a value with type {kind} at {position(changes[0][1])}")
    known = {part["name"].lower() for part in field["fields"]}
    if unknown := next((path[0] for path, _ in changes if path[0].lower() not in known), None):
        raise invalid_query(f"Field name {unknown} does not exist in {kind}")
    members = []
    for part in field["fields"]:
        name = exp.to_identifier(part["name"], quoted=True)
        value: exp.Expr = exp.Dot(this=whole.copy(), expression=name.copy())
        inner = [(path[1:], new) for path, new in changes if path[0].lower() == part["name"].lower()]
        if inner and not inner[0][0]:
            value = _default(part) if _is_default(inner[0][1]) else inner[0][1]
        elif inner:
            value = _changed(part, value, inner)
        members.append(exp.PropertyEQ(this=name, expression=value.copy()))
    return exp.Struct(expressions=members)


def doubled(update: exp.Expr) -> exp.Expr | None:
    """Return a query for the rows that an UPDATE with a FROM would change twice; ``None`` when it has none.

    :param update: the resolved statement.
    """
    from sqlglot import exp

    source = update.args.get("from_")
    if not isinstance(update, exp.Update) or source is None:
        return None
    row = exp.column("rowid", table=exp.to_identifier(update.this.alias_or_name, quoted=True))
    query = exp.select("1").from_(update.this.copy()).join(source.this.copy(), join_type="CROSS", copy=False)
    twice = exp.GT(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(1))
    query.set("where", update.args["where"].copy())
    query.set("group", exp.Group(expressions=[row]))
    query.set("having", exp.Having(this=twice))
    return query.limit(1, copy=False)
