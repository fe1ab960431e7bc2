"""Query jobs: what each kind of statement does."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.catalog import Catalog
from gcp_dicom_emulator.bigquery.jobs import export, load
from gcp_dicom_emulator.bigquery.names import ANONYMOUS_DATASET, DatasetName, RoutineName, TableName
from gcp_dicom_emulator.bigquery.sql import ddl, definitions, dml, procedures, routines, types
from gcp_dicom_emulator.bigquery.sql import translation as sql
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.bigquery.sql.run import Outcome, Run, boolean, default_dataset
from gcp_dicom_emulator.bigquery.sql.scopes import Output
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

    from gcp_dicom_emulator.storage.objects import ObjectStore

_UNSUPPORTED = (
    "clustering", "continuous", "rangePartitioning", "scriptOptions", "tableDefinitions",
    "userDefinedFunctionResources", "writeIncrementalResults", "destinationEncryptionConfiguration", "timePartitioning",
)  # fmt: skip
_ASSERT = re.compile(
    r"\s*ASSERT\b(?P<condition>.*?)(?:\bAS\s+(?P<message>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")\s*)?;?\s*", re.I | re.S
)
#: The first words of statements that BigQuery has and the emulator has not.
_BIGQUERY_WORDS = {
    "CREATE", "DROP", "UNDROP", "DECLARE", "BEGIN", "COMMIT", "ROLLBACK", "EXECUTE", "GRANT", "REVOKE", "LOAD", "ALTER",
    "RAISE", "LOOP", "WHILE", "FOR", "IF",
}  # fmt: skip


class QueryRunner:
    """Runs the statements of query jobs.

    :param export_shard_rows: how many rows an object of EXPORT DATA takes.
    """

    def __init__(self, catalog: Catalog, state: State, objects: ObjectStore, export_shard_rows: Callable[[], int]) -> None:
        self._catalog = catalog
        self._state = state
        self._objects = objects
        self._export_shard_rows = export_shard_rows

    def run(self, job: dict[str, Any], configuration: dict[str, Any], *, dry_run: bool = False) -> Outcome:
        """Run a query.

        :param job: the ``JobReference``; its id names the anonymous table of a result without a destination.
        :param configuration: the ``JobConfigurationQuery``.
        :param dry_run: only check it.
        :raises ApiError: when the query is wrong or fails.
        """
        return self._query(job, configuration, dry_run=dry_run).run()

    def _query(self, job: dict[str, Any], configuration: dict[str, Any], *, dry_run: bool) -> _Query:
        return _Query(self._catalog, self._state, self._objects, self._export_shard_rows(), job, configuration, dry_run, self)

    def datasets(self, project: str, configuration: dict[str, Any]) -> Iterator[DatasetName]:
        """Yield the datasets that the text of a query names; none when it cannot be read.

        :param project: the job's project.
        :param configuration: the ``JobConfiguration``.
        """
        from sqlglot import exp

        query = configuration.get("query") or {}
        translator = sql.Translator(sql.Session(self._catalog, project, default_dataset(query, project), {}))
        statements: list[exp.Expr] = []
        with contextlib.suppress(ApiError):
            statements = sql.parse(query.get("query") or "", legacy=boolean(query.get("useLegacySql", True)))
        for statement in statements:
            for table in statement.find_all(exp.Table):
                with contextlib.suppress(ApiError):
                    yield translator.table_name(table).parent

    def defaults(self, name: TableName, fields: list[Field]) -> dict[str, str | None]:
        """Return the values that columns have where a row leaves them out, as texts of JSON's, by name.

        :param name: the table.
        :raises ApiError: 400 for an expression that is wrong.
        """
        found = {field["name"]: field for field in fields if field.get("defaultValueExpression")}
        if not found:
            return {}
        location = self._catalog.get_dataset(name.project, name.dataset)["location"]
        job = {"projectId": name.project, "jobId": "", "location": location}
        run = self._query(job, {"useLegacySql": False}, dry_run=True)
        texts = {key: field["defaultValueExpression"] for key, field in found.items()}
        return {key: run.value_of(f"CAST(({text}) AS {types.standard_name(found[key])})") for key, text in texts.items()}

    def put_routine(self, name: RoutineName, resource: dict[str, Any], *, replace: bool) -> dict[str, Any]:
        """Create or replace a routine.

        :raises ApiError: when its body is wrong; 404, 409 as for a table; 501 for what the emulator does not do.
        """
        resource = routines.checked({**resource, "routineReference": name.reference()})
        if resource["routineType"] == "PROCEDURE":
            self._query({"projectId": name.project}, {"useLegacySql": False}, dry_run=True).check(
                procedures.statements_of(resource)
            )
            return self._catalog.put_routine(name, resource, replace=replace)
        function = routines.function_of(resource, name.project)
        if all(kind is not None for _, kind in function.parameters):
            arguments = ", ".join(f"CAST(NULL AS {kind})" for _, kind in function.parameters)
            text = f"SELECT * FROM checked({arguments})" if function.is_table else f"SELECT checked({arguments})"
            location = self._catalog.get_dataset(name.project, name.dataset)["location"]
            job = {"projectId": name.project, "jobId": "", "location": location}
            run = self._query(job, {"query": text, "useLegacySql": False}, dry_run=True)
            run.functions["checked"] = function
            run.run()
        return self._catalog.put_routine(name, resource, replace=replace)

    def view_fields(self, name: TableName, view: dict[str, Any]) -> list[Field]:
        """Return the columns of a view.

        :param view: the ``ViewDefinition``.
        :raises ApiError: when its query is wrong.
        """
        configuration = {"query": view.get("query"), "useLegacySql": view.get("useLegacySql", True)}
        location = self._catalog.get_dataset(name.project, name.dataset)["location"]
        outcome = self.run({"projectId": name.project, "jobId": "", "location": location}, configuration, dry_run=True)
        if outcome.statement_type != "SELECT":
            raise ApiError(400, "A view's query must be a SELECT.", reason="invalidQuery")
        fields: list[Field] = outcome.statistics["schema"]["fields"]
        return fields


class _Query(Run):
    """Runs a query."""

    def run(self) -> Outcome:
        """Run it, and return what it did."""
        try:
            return self._run()
        finally:
            self.forget()

    def _run(self) -> Outcome:
        from sqlglot import exp

        text = self.configuration.get("query")
        if not text:
            raise ApiError(400, "Required parameter is missing: query", reason="required")
        for option in _UNSUPPORTED:
            if self.configuration.get(option):
                raise ApiError(501, f"The emulator's queries do not do {option}.")
        for known in self.configuration.get("connectionProperties") or []:
            if known.get("key") not in ("dataset_project_id", "session_id"):
                raise ApiError(501, f"The emulator's queries do not do the connection property {known.get('key')}.")
        if match := _ASSERT.fullmatch(text):
            return self._assert(match)
        statements = sql.parse(text, legacy=self.legacy)
        self.tree = statements[0]
        self.open_session()
        is_script = len(statements) > 1 or isinstance(self.tree, (exp.Declare, exp.Set)) or procedures.is_call(self.tree)
        outcome = self._script(statements) if is_script else self._handler()()
        if self.session:
            outcome.statistics["sessionInfo"] = {"sessionId": self.session}
        return outcome

    def _handler(self) -> Callable[[], Outcome]:
        """Return what does a statement.

        :raises ApiError: 400 for what is not a statement, 501 for one that the emulator does not do.
        """
        from sqlglot import exp

        handlers: list[tuple[type | tuple[type, ...], Callable[[], Outcome]]] = [
            (exp.Query, self._select),
            ((exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.TruncateTable), self._change),
            (exp.Create, lambda: definitions.create(self)),
            (exp.Drop, lambda: definitions.drop(self)),
            (exp.Export, self._export),
            (exp.Alter, lambda: definitions.alter(self)),
        ]
        if procedures.is_call(self.tree):
            return self._call
        for classes, handler in handlers:
            if isinstance(self.tree, classes):
                return handler
        raise self._unsupported()

    def check(self, statements: list[exp.Expr]) -> None:
        """Check that statements are of kinds that can be run."""
        from sqlglot import exp

        for self.tree in statements:
            if isinstance(self.tree, exp.Create) and str(self.tree.args.get("kind")).upper() == "PROCEDURE":
                raise ApiError(501, "The emulator does not do CREATE PROCEDURE of this form.")
            if not isinstance(self.tree, (exp.Declare, exp.Set)):
                self._handler()

    def _script(self, statements: list[exp.Expr]) -> Outcome:
        """Run plain statements one after the other; the result is that of the last one, if it has rows."""
        if self.dry_run:
            raise ApiError(501, "The emulator does no dry runs of scripts.")
        if self.configuration.get("destinationTable"):
            raise ApiError(400, "configuration.query.destinationTable cannot be set for scripts", reason="invalidQuery")
        self.check(statements)  # before anything is done
        try:
            return self._statements(statements)
        finally:
            if self.temporary is not None and not self.session:
                self.catalog.delete_dataset(self.temporary.project, self.temporary.dataset, delete_contents=True)

    def _statements(self, statements: list[exp.Expr]) -> Outcome:
        from sqlglot import exp

        self.is_script, last = True, Outcome("SCRIPT", {})
        for statement in statements:
            self.forget()
            self.tree, self.number = statement, self.number + 1
            if isinstance(statement, exp.Declare):
                self._declare(statement)
            elif isinstance(statement, exp.Set):
                self._set(statement)
            else:
                outcome = self._handler()()
                last = Outcome("SCRIPT", {})
                if outcome.has_rows:
                    last = Outcome("SCRIPT", outcome.statistics, outcome.destination, has_rows=True)
        return last

    def _call(self) -> Outcome:
        """Run the statements of a procedure, with its arguments as the only variables."""
        from sqlglot import exp

        path, given = procedures.called(self.tree)
        names = [exp.to_identifier(name, quoted=True) for name in path]
        table = exp.Table(**dict(zip(("this", "db", "catalog"), reversed(names), strict=False)))
        name = definitions.routine_name(self, table)
        resource = self.catalog.find_routine(name)
        if resource is None or resource["routineType"] != "PROCEDURE":
            raise invalid_query(f"Procedure not found: {'.'.join(path)}")
        self.catalog.check_location(DatasetName(name.project, name.dataset), self.job["location"])
        procedure = routines.function_of(resource, name.project)
        if len(given) != len(procedure.parameters):
            raise invalid_query(f"Procedure {procedure.name} takes {len(procedure.parameters)} argument(s), not {len(given)}")
        if self.nested == procedures.MOST_NESTED:
            raise invalid_query(f"Calls of procedures are nested more than {procedures.MOST_NESTED} deep")
        values = {
            key.lower(): self.scalar(
                value if kind is None else exp.Cast(this=value, to=exp.DataType.build(kind, dialect="bigquery"))
            )
            for (key, kind), value in zip(procedure.parameters, given, strict=True)
        }
        outer, self.variables, self.nested = self.variables, values, self.nested + 1
        try:
            return self._statements(procedures.statements_of(resource))
        finally:
            self.variables, self.nested = outer, self.nested - 1

    def _declare(self, tree: exp.Declare) -> None:
        from sqlglot import exp

        for item in tree.expressions:
            kind, default = item.args.get("kind"), item.args.get("default") or exp.Null()
            value = exp.Cast(this=default.copy(), to=kind.copy()) if kind is not None else default.copy()
            made = self.scalar(value)
            for name in item.this:
                self.variables[name.name.lower()] = made

    def _set(self, tree: exp.Set) -> None:
        from sqlglot import exp

        for item in tree.expressions:
            assignment = item.this
            name = (
                assignment.this.name.lower() if isinstance(assignment, exp.EQ) and isinstance(assignment.this, exp.Column) else ""
            )
            if not name:
                raise ApiError(501, f"The emulator does not do {tree.sql('bigquery')}.")
            if name not in self.variables:
                raise invalid_query(f"Undeclared variable: {name}")
            kind = self.variables[name].to
            self.variables[name] = self.scalar(exp.Cast(this=assignment.expression.copy(), to=kind.copy()))

    def _unsupported(self) -> ApiError:
        from sqlglot import exp

        word, *rest = self.tree.sql("bigquery").upper().split()
        if isinstance(self.tree, (exp.LoadData, exp.Declare, exp.Grant)) or word in _BIGQUERY_WORDS:
            kind = f"{word} {rest[0]}" if word in ("CREATE", "DROP", "UNDROP") and rest else word
            return ApiError(501, f"The emulator does not do {kind} statements, or cannot read this one.")
        return invalid_query(f'Syntax error: Unexpected identifier "{word}" at [1:1]')

    def _select(self) -> Outcome:
        text, outputs, referenced = self.translated(self.tree)
        given = self.configuration.get("destinationTable")
        if given:
            name = TableName.from_reference(given, self.project)
        else:
            suffix = f"_{self.number}" if self.number > 0 else ""
            # A job's id may have characters that a table's name may not.
            digest = hashlib.sha256(self.job["jobId"].encode()).hexdigest()
            name = TableName(self.project, ANONYMOUS_DATASET, f"anon{digest}{suffix}")
        if not given:
            text, outputs = _renamed(text, outputs)
        written = None
        if not self.dry_run and not given and outputs is not None and _are_scalars(outputs):
            fields, written = self.write_directly(name, text, outputs)
        else:
            text, fields = self.described(text, outputs, self.tree)
            if not self.dry_run:
                written = self.write(name, fields, text, self.configuration.get("writeDisposition") or "WRITE_EMPTY")
        statistics = {"schema": {"fields": fields}, "referencedTables": [table.reference() for table in referenced]}
        return Outcome("SELECT", statistics, name, has_rows=True, written=written)

    def _export(self) -> Outcome:
        properties = {_option_name(prop): ddl.literal(prop) for prop in self.tree.args["options"].expressions}
        target = export.options_of(properties)
        text, fields, referenced = self.prepare(self.tree.this)
        read = {"referencedTables": [name.reference() for name in referenced]}
        if self.dry_run:
            return Outcome("EXPORT_DATA", read)
        self.objects.get_bucket(target.bucket)
        with self.engine.cursor() as cursor:
            physical = self.materialize(cursor, fields, text)
        try:
            rows = self.engine.count(physical)
            files = export.export_rows(self.engine, self.state, self.objects, physical, fields, target, self.shard_rows)
        finally:
            self.engine.drop_table(physical)
        written = {"fileCount": str(files), "rowCount": str(rows)}
        return Outcome("EXPORT_DATA", {"exportDataStatistics": written, **read})

    def _change(self) -> Outcome:
        from sqlglot import exp

        kind = type(self.tree).__name__.upper().replace("TRUNCATETABLE", "TRUNCATE_TABLE")
        tree = self.tree.copy()
        if isinstance(tree, exp.TruncateTable):
            tree = exp.Delete(this=tree.expressions[0], where=exp.Where(this=exp.true()))
        if isinstance(tree, exp.Delete) and tree.args.get("tables"):
            # BigQuery's FROM is optional; without it SQLGlot takes the table for one of MySQL's many.
            tree.set("this", tree.args["tables"][0])
            tree.set("tables", None)
        if kind in ("UPDATE", "DELETE") and not tree.args.get("where"):
            raise invalid_query(f"{kind} must have a WHERE clause at [1:1]")
        table = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        translator = self.translator()
        name = translator.table_name(table)
        target = self.catalog.table(name)
        target.writable()
        dml.complete(tree, target.fields)
        counts, referenced = self.retrying(lambda: self._execute_change(tree, name))
        rows = {"INSERT": "insertedRowCount", "UPDATE": "updatedRowCount", "DELETE": "deletedRowCount"}
        count = sum(counts.values())
        statistics: dict[str, Any] = {
            "numDmlAffectedRows": str(count),
            "referencedTables": [table.reference() for table in referenced],
        }
        if kind in rows:
            statistics["dmlStats"] = {rows[kind]: str(count)}
        elif kind == "MERGE":
            statistics["dmlStats"] = {key: str(counts[action]) for action, key in rows.items()}
        return Outcome(kind, statistics, name, written=count)

    def _execute_change(self, tree: exp.Expr, name: TableName) -> tuple[Counter[str], list[TableName]]:
        """Change a table; return how many rows each action changed, and the tables that were read."""
        from sqlglot import exp

        with self.engine.write_lock:
            translator = self.translator()
            resolved = translator.resolve(tree.copy())
            doubled = dml.doubled(resolved)
            text = sql.to_duckdb(resolved)
            self.engine.provide(text)
            if self.dry_run:
                with self.engine.cursor() as cursor:
                    cursor.execute("EXPLAIN " + text)
                return Counter(), translator.referenced
            with self.engine.transaction() as cursor:
                if doubled is not None and cursor.execute(sql.to_duckdb(doubled)).fetchone() is not None:
                    raise invalid_query(dml.MATCHED_TWICE)
                counts = _changed(cursor, text, is_merge=isinstance(tree, exp.Merge))
                if not isinstance(tree, exp.Delete):
                    table = self.catalog.table(name)
                    self.engine.fill_arrays(cursor, table.fields, table.rows())
                    if wrong := load.with_null_element(cursor, table.fields, table.rows()):
                        raise invalid_query(f"Array cannot have a null element; error in writing field {wrong}")
            self.catalog.touch(name)
        return counts, translator.referenced

    def _assert(self, match: re.Match[str]) -> Outcome:
        import sqlglot

        self.tree = sql.parse(f"SELECT ({match['condition']})", legacy=False)[0]
        text, _, _ = self.prepare(self.tree)
        if not self.dry_run:
            with self.engine.cursor() as cursor:
                row = self.retrying(lambda: cursor.execute(text).fetchone())
            if row is None or row[0] is not True:
                message = sqlglot.parse_one(match["message"], read="bigquery").name if match["message"] else "Assertion failed"
                raise invalid_query(message)
        return Outcome("ASSERT", {})


def _changed(cursor: Any, text: str, *, is_merge: bool) -> Counter[str]:
    """Run a change; return how many rows each action of a MERGE, or the change, touched."""
    if not is_merge:
        row = cursor.execute(text).fetchone()
        return Counter({"": int(row[0]) if row else 0})
    cursor.execute(f"{text} RETURNING merge_action")
    counts: Counter[str] = Counter()
    while rows := cursor.fetchmany(10_000):
        counts.update(action for (action,) in rows)
    return counts


def _option_name(prop: exp.Expr) -> str:
    from sqlglot import exp

    return "format" if isinstance(prop, exp.FileFormatProperty) else str(prop.name).lower()


def _renamed(text: str, outputs: list[Output] | None) -> tuple[str, list[Output] | None]:
    """Give the columns of a result that have the name of one before them a name of their own: ``a``, ``a_1``, ``a_2``."""
    given = [out.name for out in outputs or [] if out.name]
    if outputs is None or len({name.lower() for name in given}) == len(given):
        return text, outputs
    numbers = itertools.count()
    names = [out.name or f"f{next(numbers)}_" for out in outputs]
    taken: set[str] = set()
    made: list[str] = []
    for name in names:
        unique, number = name, 0
        while unique.lower() in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique.lower())
        made.append(unique)
    columns = ", ".join(map(types.quote, made))
    return f"SELECT * FROM ({text}) AS r({columns})", [replace(out, name=name) for out, name in zip(outputs, made, strict=True)]


def _are_scalars(outputs: list[Output]) -> bool:
    """Say whether a result has columns of scalar types that are known, no two of one name."""
    names = [out.name.lower() for out in outputs if out.name]
    scalars = all(out.kind is not None and out.kind.is_known and out.kind.name not in ("ARRAY", "STRUCT") for out in outputs)
    return bool(outputs) and scalars and len(names) == len(set(names))
