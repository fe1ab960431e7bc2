"""What the names in a query may mean: the sources of its FROM, and those of the queries around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds
from gcp_dicom_emulator.bigquery.sql.kinds import Kind
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: The columns of a table that is partitioned by the time at which its rows were written.
PSEUDO_COLUMNS = ("_PARTITIONTIME", "_PARTITIONDATE")

#: The key of a node's ``meta`` that says that it was resolved elsewhere.
RESOLVED = "resolved"

#: What the names begin with in DuckDB's SQL that columns without a name have: no name of a client's begins so.
UNNAMED = " f"

#: The columns of a source by lower-case name: the name as it was declared, and the type, or what tells it.
Columns = dict[str, tuple[str, Kind | None]]


@dataclass
class Output:
    """A column of a query's result.

    :param name: its name, ``None`` when it has none.
    :param kind: its type, ``None`` when it is not known.
    :param inner: its name in DuckDB's SQL where it has none.
    :param is_repeated: whether another column before it has its name.
    """

    name: str | None
    kind: Kind | None
    inner: str = ""
    is_repeated: bool = False


@dataclass
class Source:
    """A table, a query or an UNNEST in a FROM.

    :param alias: its name in DuckDB's SQL.
    :param columns: its columns; ``None`` when they are not known here, as behind a PIVOT.
    :param is_named: whether the client may use ``alias``.
    :param paths: the lower-case paths by which the client may name it, e.g. ``("dataset", "table")``.
    :param value: what its rows are when they are values and not rows of columns: what an UNNEST makes.
    :param value_path: where the value is: names below ``alias``.
    :param offset: the name of an UNNEST's WITH OFFSET.
    :param hidden: the lower-case name of the column that ``*`` leaves out; empty if there is none.
    :param repeated: the lower-case names that several of its columns have.
    """

    alias: str
    columns: Columns | None
    is_named: bool = True
    paths: tuple[tuple[str, ...], ...] = ()
    is_value: bool = False
    value: Kind | None = None
    value_path: tuple[str, ...] = ()
    offset: str | None = None
    hidden: str = ""
    repeated: frozenset[str] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether it may have columns that are not known."""
        if self.is_value:
            return self.value is None
        return self.columns is None

    def has(self, name: str) -> bool:
        """Say whether it has a column, or its values a field, of a lower-case name."""
        if self.is_value:
            return (self.value is not None and self.value.name == "STRUCT" and self.value.has(name)) or self.is_offset(name)
        return self.columns is not None and name in self.columns

    def is_offset(self, name: str) -> bool:
        """Say whether a lower-case name is that of the offset."""
        return self.offset is not None and self.offset.lower() == name

    def column(self, name: str) -> exp.Expr:
        """Return the reference to a column or field."""
        from sqlglot import exp

        if self.is_value:
            if self.is_offset(name.lower()):
                return kinds.put(_path(self.alias, (*self.value_path[:-1], "offset")), kinds.INT64)
            kind = self.value.member(name) if self.value is not None else None
            return kinds.put(_path(self.alias, (*self.value_path, name)), kind)
        declared, kind = (self.columns or {}).get(name.lower(), (name, None))
        column = exp.column(exp.to_identifier(declared, quoted=True), table=exp.to_identifier(self.alias, quoted=True))
        return kinds.put(column, kind)

    def row(self) -> exp.Expr:
        """Return the reference to the whole row, or value."""
        from sqlglot import exp

        if self.is_value:
            return kinds.put(_path(self.alias, self.value_path), self.value)
        kind = Kind("STRUCT", tuple(self.columns.values())) if self.columns is not None else None
        return kinds.put(exp.column(exp.to_identifier(self.alias, quoted=True)), kind)

    def outputs(self) -> list[Output] | None:
        """Return what ``*`` makes of it, ``None`` when that is not known."""
        if self.is_open and not self.is_value:
            return None
        if not self.is_value:
            shown = [column for key, column in (self.columns or {}).items() if key != self.hidden]
            return [Output(None, kind, name) if name.startswith(UNNAMED) else Output(name, kind) for name, kind in shown]
        if self.value is not None and self.value.name == "STRUCT":
            found = [Output(name, kind) for name, kind in self.value.members]
        else:
            found = [Output(self.alias if self.is_named else None, self.value)]
        return found + ([Output(self.offset, kinds.INT64)] if self.offset else [])


def _path(alias: str, names: tuple[str, ...]) -> exp.Expr:
    from sqlglot import exp

    node: exp.Expr = exp.column(exp.to_identifier(names[0], quoted=True), table=exp.to_identifier(alias, quoted=True))
    for name in names[1:]:
        node = exp.Dot(this=node, expression=exp.to_identifier(name, quoted=True))
    return node


@dataclass
class Scope:
    """The sources of a query.

    :param parent: the scope of the query around it.
    :param using: the lower-case names of the columns of USING, which are one column of several sources.
    :param merged: their names in the order in which ``*`` has them, before all others.
    :param is_spelled: whether a USING is an ON in DuckDB's SQL, whose ``*`` would have its columns twice.
    """

    parent: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    using: dict[str, exp.Expr] = field(default_factory=dict)
    merged: list[str] = field(default_factory=list)
    is_spelled: bool = False

    def has_path(self, first: str) -> bool:
        """Say whether a lower-case name begins a path here or outside: a source's name or a column."""
        scope: Scope | None = self
        while scope is not None:
            if any((source.is_named and source.alias.lower() == first) or source.has(first) for source in scope.sources):
                return True
            scope = scope.parent
        return False

    def find(self, parts: list[exp.Identifier]) -> exp.Expr | None:
        """Return what a path means, with the types of its steps.

        :param parts: the path's names.
        :returns: ``None`` for what may be a column that is not known here.
        :raises ApiError: 400 for a name that is not there, or is ambiguous.
        """
        scope: Scope | None = self
        is_open = False
        while scope is not None:
            found = scope._find(parts)
            if found is not None:
                return found
            is_open = is_open or any(source.is_open for source in scope.sources)
            scope = scope.parent
        if is_open:
            return None
        if parts[-1].name.upper() in PSEUDO_COLUMNS:
            raise ApiError(501, f"The emulator does not keep when rows were written: it has no {parts[-1].name}.")
        raise invalid_query(f"Unrecognized name: {parts[0].name} at {position(parts[0])}")

    def _find(self, parts: list[exp.Identifier]) -> exp.Expr | None:
        first, rest = parts[0].name.lower(), parts[1:]
        for source in self.sources:
            if source.is_named and source.alias.lower() == first:
                return _inside(source, parts[0], rest)
        for source in self.sources:
            for path in source.paths:
                if tuple(part.name.lower() for part in parts[: len(path)]) == path and len(parts) > len(path):
                    return _inside(source, parts[len(path) - 1], parts[len(path) :])
        if first in self.using:
            return steps(self.using[first].copy(), rest)
        having = [source for source in self.sources if source.has(first)]
        if len(having) > 1 or any(first in source.repeated for source in having):
            raise invalid_query(f"Column name {parts[0].name} is ambiguous at {position(parts[0])}")
        return steps(having[0].column(parts[0].name), rest) if having else None


def _inside(source: Source, name: exp.Identifier, rest: list[exp.Identifier]) -> exp.Expr:
    """Return what a path below a source's name means."""
    if not rest:
        return source.row()
    if not source.is_open and not source.has(rest[0].name.lower()) and not _is_json(source):
        if rest[0].name.upper() in PSEUDO_COLUMNS:
            raise ApiError(501, f"The emulator does not keep when rows were written: it has no {rest[0].name}.")
        raise invalid_query(f"Name {rest[0].name} not found inside {name.name} at {position(rest[0])}")
    if rest[0].name.lower() in source.repeated:
        raise invalid_query(f"Column name {rest[0].name} is ambiguous at {position(rest[0])}")
    if source.is_value:
        if source.is_offset(rest[0].name.lower()) and not (source.value is not None and source.value.has(rest[0].name)):
            return steps(source.column(rest[0].name), rest[1:])
        return steps(source.row(), rest)
    return steps(source.column(rest[0].name), rest[1:])


def _is_json(source: Source) -> bool:
    return source.is_value and source.value == kinds.JSON


def steps(node: exp.Expr, names: list[Any]) -> exp.Expr:
    """Return a path of fields below an expression.

    :param names: the fields' identifiers.
    :raises ApiError: 400 for a field that is not there.
    """
    from sqlglot import exp

    for name in names:
        kind = kinds.of(node)
        check_field(kind, name)
        made = exp.Dot(this=node, expression=exp.to_identifier(name.name, quoted=True))
        node = kinds.put(made, kinds.JSON if kind == kinds.JSON else kind.member(name.name) if kind is not None else None)
    return node


def check_field(kind: Kind | None, name: exp.Identifier) -> None:
    """Check that a value of a type may have a field.

    :raises ApiError: 400 when it has not.
    """
    if kind is None or kind in (kinds.JSON, kinds.NULL):
        return
    if kind.name != "STRUCT":
        raise invalid_query(f"Cannot access field {name.name} on a value with type {kind} at {position(name)}")
    if not kind.has(name.name):
        raise invalid_query(f"Field name {name.name} does not exist in {kind} at {position(name)}")


#: Returns the source that a name in a FROM means, and what stands there in DuckDB's SQL.
Lookup = Callable[[Any], tuple[Source, Any]]
