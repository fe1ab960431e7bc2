"""From BigQuery's SQL to DuckDB's: SQLGlot parses and writes; here is what it does not know.

Only what is known passes: statement types that BigQuery has, tables that the catalog has, functions that SQLGlot's BigQuery
dialect has. All else is refused before DuckDB sees it.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.catalog import Catalog, Table, view_of
from gcp_dicom_emulator.bigquery.names import DatasetName, RoutineName, TableName
from gcp_dicom_emulator.bigquery.sql import clauses, information, kinds, lexis, shapes, wildcards
from gcp_dicom_emulator.bigquery.sql import functions as rules
from gcp_dicom_emulator.bigquery.sql.grammar import googlesql
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.bigquery.sql.resolver import Resolver
from gcp_dicom_emulator.bigquery.sql.routines import Function, function_of
from gcp_dicom_emulator.bigquery.sql.scopes import UNNAMED, Columns, Output, Source
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

log = logging.getLogger(__name__)

# What legacy SQL writes in brackets, outside of strings and comments.
_LEGACY = re.compile(
    r"""(?P<other>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|--[^\n]*|/\*.*?\*/)"""
    r"""|\[(?P<project>[\w.:-]+?)[:.](?P<dataset>\w+)\.(?P<table>[^\]]+)\]|\[(?P<dataset2>\w+)\.(?P<table2>[^\]]+)\]""",
    re.DOTALL,
)

# GoogleSQL's reserved words: no name without backticks, except behind a dot. SQLGlot takes most of them for names.
_WORDS = """
ALL AND ANY ARRAY AS ASC ASSERT_ROWS_MODIFIED AT BETWEEN BY CASE CAST COLLATE CONTAINS CREATE CROSS CUBE CURRENT DEFAULT DEFINE DESC
DISTINCT ELSE END ENUM ESCAPE EXCEPT EXCLUDE EXISTS EXTRACT FALSE FETCH FOLLOWING FOR FROM FULL GROUP GROUPING GROUPS HASH HAVING IF
IGNORE IN INNER INTERSECT INTERVAL INTO IS JOIN LATERAL LEFT LIKE LIMIT LOOKUP MERGE NATURAL NEW NO NOT NULL NULLS OF ON OR ORDER OUTER
OVER PARTITION PRECEDING PROTO QUALIFY RANGE RECURSIVE RESPECT RIGHT ROLLUP ROWS SELECT SET SOME STRUCT TABLESAMPLE THEN TO TREAT TRUE
UNBOUNDED UNION UNNEST USING WHEN WHERE WINDOW WITH WITHIN
"""
_RESERVED = frozenset(_WORDS.split())

#: A comment or a literal that is closed, or a character of neither.
_CLOSED = re.compile(
    r"""--[^\n]*|\#[^\n]*|/\*.*?\*/|[^'"`/#-]|/(?!\*)|-(?!-)
    |'''(?:\\.|[^\\])*?'''|\"""(?:\\.|[^\\])*?\"""|'(?!'')(?:\\.|[^'\\\n])*'|"(?!"")(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\\n])*`""",
    re.VERBOSE | re.DOTALL,
)
_UNCLOSED = {
    "'''": "triple-quoted string literal",
    '"""': "triple-quoted string literal",
    "'": "string literal",
    '"': "string literal",
    "`": "identifier literal",
    "/*": "comment",
}


def _unclosed(text: str) -> str | None:
    """Return which literal or comment has no end, and where it begins; ``None`` if each has one."""
    at = 0
    while found := _CLOSED.match(text, at):
        at = found.end()
    for beginning, what in _UNCLOSED.items():
        if text.startswith(beginning, at):
            return f"Unclosed {what} at [{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}]"
    return None


@functools.lru_cache(maxsize=16)
def parse(text: str, *, legacy: bool) -> list[exp.Expr]:
    """Return the statements of a query's text; they are kept for the next time, so copy what you change.

    :param legacy: whether it is legacy SQL, of which the emulator knows ``[project:dataset.table]``.
    :raises ApiError: 400 for a syntax error, with its place.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, SqlglotError

    if legacy:
        text = _LEGACY.sub(_backticks, text)
    try:
        dialect = sqlglot.Dialect.get_or_raise(googlesql())
        tokens = dialect.tokenize(text)
        lexis.check(tokens, text)
        parsed = dialect.parser().parse(tokens, text)
        # SQLGlot takes a comment behind the last semicolon for a statement.
        statements = [one for one in parsed if one is not None and not isinstance(one, exp.Semicolon)]
    except ParseError as error:
        problem = error.errors[0] if error.errors else {}
        line = problem.get("line") or 1
        token = problem.get("highlight") or ""
        column = max((problem.get("col") or 1) - len(token) + 1, 1)
        what = f'Unexpected "{token}"' if token else "Unexpected end of script"
        raise invalid_query(f"Syntax error: {what} at [{line}:{column}]") from error
    except SqlglotError as error:
        raise invalid_query(
            f"Syntax error: {_unclosed(text) or (str(error) or repr(error)).splitlines()[0] + ' at [1:1]'}"
        ) from error
    except ApiError:
        raise
    except Exception as error:
        # SQLGlot raises whatever it stumbles over.
        raise ApiError(501, f"The emulator cannot read this query: {error!r}") from error
    for statement in statements:
        if isinstance(statement, exp.Select) and not statement.expressions:
            raise invalid_query("Syntax error: SELECT without a list of expressions at [1:1]")
        if not legacy:
            _refuse_reserved(statement)
            clauses.check(statement)
    if not statements:
        raise invalid_query("Syntax error: Unexpected end of statement at [1:1]")
    return statements


def _refuse_reserved(statement: exp.Expr) -> None:
    from sqlglot import exp

    for name in statement.find_all(exp.Identifier):
        if name.args.get("quoted") or name.name.upper() not in _RESERVED:
            continue
        parent = name.parent
        if isinstance(parent, exp.Pivot):
            continue  # what SQLGlot calls its columns
        if name.name.upper() == "DEFAULT" and _is_written(parent):
            continue
        behind_dot = isinstance(parent, (exp.Column, exp.Table)) and parent.parts[0] is not name
        if not behind_dot and not isinstance(parent, exp.Dot):
            raise invalid_query(f"Syntax error: Unexpected keyword {name.name.upper()} at {position(name)}")


def _is_written(value: exp.Expr | None) -> bool:
    """Say whether a value stands where DEFAULT may: on the right in a SET, or in VALUES, which may be a function to SQLGlot."""
    from sqlglot import exp

    parent = value.parent if value is not None else None
    if isinstance(parent, exp.Anonymous):
        return parent.name.upper() == "VALUES"
    return isinstance(parent, exp.EQ) and isinstance(parent.parent, exp.Update) and parent.expression is value


def _backticks(match: re.Match[str]) -> str:
    if match["other"]:
        return match["other"]
    if match["dataset2"]:
        return f"`{match['dataset2']}`.`{match['table2']}`"
    return f"`{match['project']}`.`{match['dataset']}`.`{match['table']}`"


@dataclass(frozen=True)
class Session:
    """Whose names and values a statement's names and parameters are.

    :param catalog: the tables.
    :param project: the project of names without one.
    :param default_dataset: the dataset of names without one.
    :param parameters: the query's parameters as SQL of BigQuery's; by name, or by position.
    :param location: where the job runs, and all its datasets must be; ``None`` for anywhere.
    :param variables: a script's variables, by lower-case name.
    :param functions: a script's temporary functions, by lower-case name.
    :param temporary: the dataset of the session's temporary tables; ``None`` when there can be none.
    :param external: returns a physical table with the rows of an external one.
    """

    catalog: Catalog
    project: str
    default_dataset: DatasetName | None
    parameters: dict[str, str] | list[str]
    legacy: bool = False
    location: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    temporary: DatasetName | None = None
    external: Callable[[Table], str] | None = None


class Translator:
    """Translates one statement; collects the tables that it reads.

    :param session: whose statement it is.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.referenced: list[TableName] = []
        #: The views around the statement.
        self._open_views: tuple[TableName, ...] = ()
        self.outputs: list[Output] | None = None
        self._views: dict[str, exp.Expr] = {}

    def table_name(self, table: exp.Table) -> TableName:
        """Return the name that a table in the statement means.

        :raises ApiError: 400 for one without a dataset, 501 for kinds of tables that the emulator does not have.
        """
        from sqlglot import exp

        if not isinstance(table.this, exp.Identifier):
            raise invalid_query(f"Table-valued function not found: {table.sql('bigquery')} at {position(table)}")
        parts = [part.name for part in table.parts]
        if len(parts) == 2 and parts[0].upper() == "_SESSION" and self._session.temporary is not None:
            parts = [self._session.temporary.dataset, parts[1]]
        for key, what in (("version", "FOR SYSTEM_TIME AS OF"), ("sample", "TABLESAMPLE")):
            if table.args.get(key):
                raise ApiError(501, f"The emulator does not do {what}.")
        if len(parts) == 1:
            temporary, default = self._session.temporary, self._session.default_dataset
            if temporary is not None:
                name = TableName(temporary.project, temporary.dataset, parts[0])
                if default is None or self._session.catalog.find(name) is not None:
                    return name
            if default is None:
                raise invalid_query(
                    f'Table "{parts[0]}" must be qualified with a dataset (e.g. dataset.table) at {position(table)}'
                )
            return TableName(default.project, default.dataset, parts[0])
        if len(parts) > 3:
            parts = [".".join(parts[:-2]), *parts[-2:]]
        return TableName(parts[0] if len(parts) == 3 else self._session.project, parts[-2], parts[-1])

    def resolve(self, tree: exp.Expr) -> exp.Expr:
        """Return the statement with its tables, parameters and functions as DuckDB has them.

        :raises ApiError: 400 for what is wrong with it, 404 for a table that is not there, 501 for what cannot be translated.
        """
        try:
            return self._resolve(tree)
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
            # A shape of SQLGlot's trees that the rules do not expect.
            log.exception("cannot translate a statement")
            raise ApiError(501, f"The emulator cannot translate this query: {error!r}") from error

    def _resolve(self, tree: exp.Expr) -> exp.Expr:
        from sqlglot import exp

        if self._session.legacy:
            _refuse_legacy(tree)
        # What there is, so that not every step looks for itself.
        present = {type(node) for node in tree.walk()}
        if not present.isdisjoint((exp.Parameter, exp.Placeholder)):
            tree = self._put_parameters(tree)
        if not present.isdisjoint((exp.Command, exp.Pragma, exp.Attach, exp.Copy, exp.Set)):
            command: Any = tree.find(exp.Command, exp.Pragma, exp.Attach, exp.Copy, exp.Set)
            raise invalid_query(f"Syntax error: Unexpected statement {command.sql('bigquery').split()[0]} at {position(command)}")
        if not present.isdisjoint((exp.Update, exp.Pivot)):
            shapes.reshape(tree)
        self.outputs = Resolver(self._lookup, self._session.variables, self._function).resolve(tree)
        return self._put_views(rules.rewrite(tree))

    def _put_parameters(self, tree: exp.Expr) -> exp.Expr:
        from sqlglot import exp, parse_one

        parameters, used = self._session.parameters, 0
        for node in list(tree.find_all(exp.Parameter, exp.Placeholder)):
            if isinstance(node, exp.Parameter):
                name = node.name
                if isinstance(node.this, exp.Parameter) or isinstance(node.parent, exp.Parameter):
                    raise ApiError(501, "The emulator has no system variables (@@…).")
                values = {key.lower(): value for key, value in parameters.items()} if isinstance(parameters, dict) else {}
                if name.lower() not in values:
                    raise invalid_query(f"Query parameter '{name}' not found at {position(node)}")
                value = values[name.lower()]
            else:
                if not isinstance(parameters, list) or used >= len(parameters):
                    raise invalid_query(f"Query parameter number {used + 1} is not defined at {position(node)}")
                value, used = parameters[used], used + 1
            node.replace(parse_one(value, read="bigquery"))
        return tree

    def _function(self, path: list[str]) -> Function | None:
        """Return the function of a user's that a path means."""
        if not path:
            return None
        if len(path) == 1:
            default = self._session.default_dataset
            if (found := self._session.functions.get(path[0].lower())) is not None or default is None:
                return found
            path = [default.project, default.dataset, path[0]]
        if len(path) == 2:
            path = [self._session.project, *path]
        project, dataset, name = ".".join(path[:-2]), path[-2], path[-1]
        if not re.fullmatch(r"\w+", dataset) or not re.fullmatch(r"[A-Za-z_]\w*", name):
            return None
        routine = self._session.catalog.find_routine(RoutineName(project, dataset, name))
        return function_of(routine, project) if routine is not None and routine["routineType"] != "PROCEDURE" else None

    def _lookup(self, table: exp.Table) -> tuple[Source, exp.Expr]:
        """Return what a table in a FROM is, and the physical one that takes its place."""
        from sqlglot import exp

        if (view := self._information(table)) is not None:
            return view
        if isinstance(table.this, exp.Identifier) and table.parts[-1].name.endswith("*"):
            return self._wildcard(table)
        name = self.table_name(table)
        if self._session.location is not None:
            self._session.catalog.check_location(name.parent, self._session.location)
        found = self._session.catalog.table(name)
        if name not in self.referenced:
            self.referenced.append(name)
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(name.table, quoted=True))
        if found.kind == "EXTERNAL" and self._session.external is not None:
            physical = self._session.external(found)
        elif found.physical is None:
            # A view's query is translated on its own; it takes its place when this one's translation is done.
            physical = f"view {len(self._views)}"
            self._views[physical] = self._view(found.resource, name)
        else:
            physical = found.physical
        # An alias may look like a path: `dataset.table_1`.
        paths: list[tuple[str, ...]] = [tuple(table.alias.split("."))] if "." in table.alias else []
        paths += [] if table.alias else [(name.dataset, name.table), (*name.project.split("."), name.dataset, name.table)]
        source = Source(
            alias.name,
            columns_of(found),
            paths=tuple(tuple(part.lower() for part in path) for path in paths),
        )
        return source, exp.Table(this=exp.to_identifier(physical, quoted=True), alias=alias.copy())

    def _wildcard(self, table: exp.Table) -> tuple[Source, exp.Expr]:
        """Return the tables whose names begin alike, as one with ``_TABLE_SUFFIX``."""
        from sqlglot import exp

        named = table.copy()
        pattern = named.parts[-1].name
        named.parts[-1].set("this", pattern.replace("*", "_"))
        name = self.table_name(named)
        if self._session.location is not None:
            self._session.catalog.check_location(name.parent, self._session.location)
        prefix = pattern.rpartition(".")[2].removesuffix("*")
        found = [
            one for one in self._session.catalog.list_tables(name.project, name.dataset) if one.name.table.startswith(prefix)
        ]
        if not found:
            raise ApiError(404, f"Not found: {name.parent}.{prefix}* does not match any table.")
        self.referenced += [one.name for one in found if one.name not in self.referenced]
        given = table.args.get("alias")
        alias = given.name if given is not None else f"{prefix}*"
        columns, query = wildcards.union(found, len(prefix))
        identifier = exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
        return Source(alias, columns, hidden=wildcards.SUFFIX.lower()), exp.Subquery(this=query, alias=identifier)

    def _information(self, table: exp.Table) -> tuple[Source, exp.Expr] | None:
        """Return a view about a dataset and its tables, ``None`` when a table is another."""
        from sqlglot import exp

        parts = [part for one in table.parts for part in one.name.split(".")]
        upper = [part.upper() for part in parts]
        if "INFORMATION_SCHEMA" in upper:
            at, view = upper.index("INFORMATION_SCHEMA"), upper[-1]
            outer = parts[:at]
        elif upper[-1] == "__TABLES__":
            outer, view = parts[:-1], "__TABLES__"
        else:
            return None
        if (outer and outer[0].lower().startswith("region-")) or (len(outer) > 1 and outer[-1].lower().startswith("region-")):
            raise ApiError(501, "The emulator's INFORMATION_SCHEMA is that of a dataset, not of a region.")
        default = self._session.default_dataset
        if view == "SCHEMATA":
            dataset = DatasetName(".".join(outer) or self._session.project, "all")
        elif outer:
            dataset = DatasetName(".".join(outer[:-1]) or self._session.project, outer[-1])
        elif default is not None:
            dataset = default
        else:
            raise invalid_query(
                f'Table "{table.name}" must be qualified with a dataset (e.g. dataset.table) at {position(table)}'
            )
        select = parse(information.query(self._session.catalog, dataset, view), legacy=False)[0].copy()
        outputs = Resolver(self._lookup).resolve(select) or []
        given = table.args.get("alias")
        alias = given.name if given is not None and "." not in given.name else view
        columns = {(out.name or "").lower(): (out.name or "", out.kind) for out in outputs}
        identifier = exp.to_identifier(alias, quoted=True)
        return Source(alias, columns), exp.Subquery(this=select, alias=exp.TableAlias(this=identifier))

    def _put_views(self, tree: exp.Expr) -> exp.Expr:
        from sqlglot import exp

        for table in list(tree.find_all(exp.Table)) if self._views else []:
            if table.name in self._views:
                alias = table.args["alias"].copy()
                view = exp.Subquery(this=self._views[table.name].copy(), alias=alias, joins=table.args.get("joins"))
                table.replace(view)
        return tree

    def _view(self, resource: dict[str, Any], name: TableName) -> exp.Expr:
        if name in self._open_views:
            raise invalid_query(f"View {name} cannot read itself")
        view = view_of(resource) or {}
        legacy = bool(view.get("useLegacySql", True))
        session = Session(
            self._session.catalog, name.project, None, {}, legacy, self._session.location, external=self._session.external
        )
        (select,) = parse(view["query"], legacy=session.legacy)
        inner = Translator(session)
        inner._open_views = (*self._open_views, name)
        resolved = inner.resolve(select.copy())
        self.referenced.extend(inner.referenced)
        return name_columns(resolved)


@functools.lru_cache(maxsize=64)
def columns_of(table: Table) -> Columns:
    """Return the columns of a table, with their types; kept for the next query."""
    return {column["name"].lower(): (column["name"], kinds.of_field(column)) for column in table.fields}


def _refuse_legacy(tree: exp.Expr) -> None:
    from sqlglot import exp

    if not isinstance(tree, exp.Query):
        raise invalid_query("Legacy SQL has only SELECT statements; set useLegacySql to false.")
    for join in tree.find_all(exp.Join):
        if join.kind == "CROSS" and not isinstance(join.this, exp.Unnest):
            raise ApiError(501, "The emulator does not do the comma of legacy SQL, which is a UNION ALL; use GoogleSQL.")


def name_columns(query: exp.Expr) -> exp.Expr:
    """Name a query's columns that have no name as BigQuery does: ``f0_``, ``f1_``, …"""
    from sqlglot import exp

    first = query
    while isinstance(first, (exp.SetOperation, exp.Subquery)):
        first = first.this
    if isinstance(first, exp.Select):
        number = 0
        named: list[Any] = []
        for expression in first.expressions:
            is_named = isinstance(expression, (exp.Alias, exp.Column, exp.Dot, exp.Star))
            if not is_named or (isinstance(expression, exp.Column) and expression.name.startswith(UNNAMED)):
                expression = exp.alias_(expression, f"f{number}_", quoted=True, copy=False)
                number += 1
            named.append(expression)
        first.set("expressions", named)
    return query


def to_duckdb(tree: exp.Expr) -> str:
    """Return the statement as DuckDB's SQL."""
    from sqlglot import ErrorLevel

    try:
        # What SQLGlot knows that it cannot translate, it would else write in a way that means something else.
        return tree.sql("duckdb", unsupported_level=ErrorLevel.RAISE)
    except ApiError:
        raise
    except Exception as error:
        # SQLGlot raises whatever it stumbles over in a function that lacks arguments.
        raise ApiError(501, f"The emulator cannot translate this query: {error}") from error
