"""Query jobs: what each kind of statement does."""

from __future__ import annotations

import contextlib
import itertools
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from gcp_dicom_emulator.bigquery.catalog import Catalog, Table
from gcp_dicom_emulator.bigquery.jobs import export, load
from gcp_dicom_emulator.bigquery.names import ANONYMOUS_DATASET, SESSION_PREFIX, DatasetName, RoutineName, TableName
from gcp_dicom_emulator.bigquery.sql import ddl, kinds, parameters, procedures, routines, types
from gcp_dicom_emulator.bigquery.sql import translation as sql
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, query_error
from gcp_dicom_emulator.bigquery.sql.scopes import Output
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp

    from gcp_dicom_emulator.storage.objects import ObjectStore

_UNSUPPORTED = (
    "clustering", "continuous", "rangePartitioning", "scriptOptions", "tableDefinitions",
    "userDefinedFunctionResources", "writeIncrementalResults", "destinationEncryptionConfiguration", "timePartitioning",
)  # fmt: skip
_ASSERT = re.compile(
    r"\s*ASSERT\b(?P<condition>.*?)(?:\bAS\s+(?P<message>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")\s*)?;?\s*", re.I | re.S
)
_T = TypeVar("_T")
_PHYSICAL = re.compile(r"\bt_[0-9a-f]{32}\b")


@dataclass
class Outcome:
    """What a query job did.

    :param statement_type: BigQuery's word for the statement, e.g. ``SELECT``.
    :param statistics: what ``statistics.query`` says beside it.
    :param destination: the table with the result, or the one that was changed.
    :param has_rows: whether the destination is a result that the client may read.
    :param written: how many rows it wrote; ``None`` when that is not what it does.
    """

    statement_type: str
    statistics: dict[str, Any]
    destination: TableName | None = None
    has_rows: bool = False
    written: int | None = None


class QueryRunner:
    """Runs the statements of query jobs.

    :param export_shard_rows: how many rows an object of EXPORT DATA takes.
    """

    def __init__(self, catalog: Catalog, state: State, objects: ObjectStore, export_shard_rows: Callable[[], int]) -> None:
        self._catalog = catalog
        self._engine = catalog.engine
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
        return self._run(job, configuration, dry_run=dry_run).run()

    def _run(self, job: dict[str, Any], configuration: dict[str, Any], *, dry_run: bool) -> _Run:
        return _Run(self._catalog, self._state, self._objects, self._export_shard_rows(), job, configuration, dry_run, self)

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
        run = self._run(job, {"useLegacySql": False}, dry_run=True)
        texts = {key: field["defaultValueExpression"] for key, field in found.items()}
        return {key: run.value_of(f"CAST(({text}) AS {types.standard_name(found[key])})") for key, text in texts.items()}

    def put_routine(self, name: RoutineName, resource: dict[str, Any], *, replace: bool) -> dict[str, Any]:
        """Create or replace a routine.

        :raises ApiError: when its body is wrong; 404, 409 as for a table; 501 for what the emulator does not do.
        """
        resource = routines.checked({**resource, "routineReference": name.reference()})
        if resource["routineType"] == "PROCEDURE":
            self._run({"projectId": name.project}, {"useLegacySql": False}, dry_run=True).check(
                procedures.statements_of(resource)
            )
            return self._catalog.put_routine(name, resource, replace=replace)
        function = routines.function_of(resource, name.project)
        if all(kind is not None for _, kind in function.parameters):
            arguments = ", ".join(f"CAST(NULL AS {kind})" for _, kind in function.parameters)
            text = f"SELECT * FROM checked({arguments})" if function.is_table else f"SELECT checked({arguments})"
            location = self._catalog.get_dataset(name.project, name.dataset)["location"]
            job = {"projectId": name.project, "jobId": "", "location": location}
            run = self._run(job, {"query": text, "useLegacySql": False}, dry_run=True)
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


@dataclass
class _Run:
    catalog: Catalog
    state: State
    objects: ObjectStore
    shard_rows: int
    job: dict[str, Any]
    configuration: dict[str, Any]
    dry_run: bool
    runner: QueryRunner
    #: A script's variables, by lower-case name: CASTs of literals.
    variables: dict[str, Any] = field(default_factory=dict)
    #: Its temporary functions, by lower-case name.
    functions: dict[str, routines.Function] = field(default_factory=dict)
    #: Whose temporary tables are seen: a session's, or those that a script has made.
    temporary: DatasetName | None = None
    #: The id of the session, empty if there is none.
    session: str = ""
    #: The number of the statement in a script, with those of the procedures that it calls.
    number: int = -1
    #: How many procedures have called each other.
    nested: int = 0
    #: Where the rows of external tables are for a statement.
    loaded: dict[TableName, TableName] = field(default_factory=dict)
    is_script: bool = False

    def __post_init__(self) -> None:
        self.legacy = boolean(self.configuration.get("useLegacySql", True))
        self.engine = self.catalog.engine

    @property
    def project(self) -> str:
        """The job's project."""
        return str(self.job["projectId"])

    def run(self) -> Outcome:
        try:
            return self._run()
        finally:
            self._forget()

    def _external(self, table: Table) -> str:
        """Return a physical table with the rows that an external one has now."""
        from gcp_dicom_emulator.bigquery import external

        if table.name not in self.loaded:
            self.loaded[table.name] = external.read(self.catalog, self.objects, table)
        return self.catalog.table(self.loaded[table.name]).rows()

    def _forget(self) -> None:
        """Forget the rows of external tables: the next statement looks again."""
        for name in self.loaded.values():
            self.catalog.delete_table(name)
        self.loaded.clear()

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
        self._open_session()
        is_script = len(statements) > 1 or isinstance(self.tree, (exp.Declare, exp.Set)) or procedures.is_call(self.tree)
        outcome = self._script(statements) if is_script else self._handler()()
        if self.session:
            outcome.statistics["sessionInfo"] = {"sessionId": self.session}
        return outcome

    def _open_session(self) -> None:
        """Find the session that the query belongs to, or make the one that it asks for."""
        self.session = session_of(self.configuration) or ""
        if boolean(self.configuration.get("createSession") or False):
            if self.session:
                raise ApiError(400, "createSession cannot be used together with a session_id.")
            self.session = uuid.uuid4().hex
            if not self.dry_run:
                self.catalog.create_dataset(self.project, SESSION_PREFIX + self.session, self.job["location"])
        elif self.session and not self._has_session():
            raise ApiError(400, f"Invalid session: {self.session}", reason="invalid")
        if self.session:
            self.temporary = DatasetName(self.project, SESSION_PREFIX + self.session)

    def _has_session(self) -> bool:
        with contextlib.suppress(ApiError):
            self.catalog.get_dataset(self.project, SESSION_PREFIX + self.session)
            return True
        return False

    def _handler(self) -> Callable[[], Outcome]:
        """Return what does a statement.

        :raises ApiError: 400 for what is not a statement, 501 for one that the emulator does not do.
        """
        from sqlglot import exp

        handlers: list[tuple[type | tuple[type, ...], Callable[[], Outcome]]] = [
            (exp.Query, self._select),
            ((exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.TruncateTable), self._change),
            (exp.Create, self._create),
            (exp.Drop, self._drop),
            (exp.Export, self._export),
            (exp.Alter, self._alter),
        ]
        if procedures.is_call(self.tree):
            return self._call
        for classes, handler in handlers:
            if isinstance(self.tree, classes):
                return handler
        raise self._unsupported()

    # Scripts

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
            self._forget()
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
        name = self._routine_name(table)
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
            key.lower(): self._scalar(
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
            made = self._scalar(value)
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
            self.variables[name] = self._scalar(exp.Cast(this=assignment.expression.copy(), to=kind.copy()))

    def _scalar(self, value: exp.Expr) -> Any:
        """Work out the value of a variable, and return it as a literal of its type."""
        from sqlglot import exp, parse_one

        field, written = self._written(value)
        kind = types.standard_name(field)
        literal = parameters.scalar(kind, written)
        return exp.Cast(this=parse_one(literal, read="bigquery"), to=exp.DataType.build(kind, dialect="bigquery"))

    def value_of(self, expression: str) -> str | None:
        """Return the value of an expression without tables, as a text of JSON's."""
        self.tree = sql.parse(f"SELECT {expression}", legacy=False)[0].copy()
        return self._written(self.tree.expressions[0])[1]

    def _written(self, value: exp.Expr) -> tuple[Field, str | None]:
        """Return the type of a scalar, and its value as parameters and JSON have it."""
        from sqlglot import exp

        text, (field,), _ = self._prepare(exp.select(exp.Alias(this=value.copy(), alias=exp.to_identifier("v"))))
        if field["mode"] == "REPEATED" or field["type"] == "RECORD":
            raise ApiError(501, "The emulator's default values and variables are scalars: no arrays, no structs.")
        forms = {"BYTES": "to_base64(v)", "JSON": "CAST(v AS VARCHAR)", "INTERVAL": "bq_string_of_interval(v)"}
        if field["type"] in ("GEOGRAPHY", "RANGE"):
            raise ApiError(501, f"The emulator has no variables and no default values of type {field['type']}.")
        written = forms.get(field["type"], "bq_string(v)")
        with self.engine.cursor() as cursor:
            row = self._retrying(lambda: cursor.execute(f"SELECT {written} FROM ({text})").fetchone())
        return field, row[0] if row else None

    def _unsupported(self) -> ApiError:
        from sqlglot import exp

        word = self.tree.sql("bigquery").split()[0].upper()
        if isinstance(self.tree, (exp.LoadData, exp.Declare, exp.Grant)) or word in _BIGQUERY_WORDS:
            return ApiError(501, f"The emulator does not do {word} statements.")
        return invalid_query(f'Syntax error: Unexpected identifier "{word}" at [1:1]')

    # What statements need

    def _translator(self, *, sees_temporary: bool = True) -> sql.Translator:
        dataset = default_dataset(self.configuration, self.project)
        mode = str(self.configuration.get("parameterMode") or "")
        values = parameters.as_sql(self.configuration.get("queryParameters") or [], mode)
        properties = self.configuration.get("connectionProperties") or []
        given = [known.get("value") for known in properties if known.get("key") == "dataset_project_id"]
        # Whose datasets are meant where a name has no project.
        project = str(given[-1]) if given else self.project
        return sql.Translator(
            sql.Session(
                self.catalog,
                project,
                dataset,
                values,
                self.legacy,
                self.job["location"],
                self.variables,
                self.functions,
                self.temporary if sees_temporary else None,
                self._external,
            )
        )

    def _prepare(self, query: exp.Expr, *, needs_names: str | bool = "") -> tuple[str, list[Field], list[TableName]]:
        """Return a query as DuckDB's SQL whose columns have the types of BigQuery, its fields, and the tables it reads.

        :param needs_names: the statement whose columns must have names.
        """
        text, outputs, referenced = self._translated(query)
        for number, output in enumerate(outputs or [], start=1):
            if needs_names and output.name is None:
                raise invalid_query(f"{needs_names} columns must be named, but column {number} has no name")
        return *self._described(text, outputs, query), referenced

    def _described(self, text: str, outputs: list[Output] | None, query: exp.Expr) -> tuple[str, list[Field]]:
        """Return a query in DuckDB's SQL with BigQuery's types, and its fields."""
        import duckdb

        try:
            with self.engine.cursor() as cursor:
                relation = cursor.sql(text)
                names, found = relation.columns, relation.types
        except duckdb.Error as error:
            raise query_error(error, query) from error
        fields = self._fields(names, found, outputs)
        return _typed(text, fields, found), fields

    def _translated(self, query: exp.Expr) -> tuple[str, list[Output] | None, list[TableName]]:
        """Return a query as DuckDB's SQL, what is known of its columns, and the tables it reads."""
        translator = self._translator()
        text = sql.to_duckdb(sql.name_columns(translator.resolve(query.copy())))
        self.engine.provide(text)
        return text, translator.outputs, translator.referenced

    def _fields(self, names: list[str], found: list[Any], outputs: list[Output] | None) -> list[Field]:
        """Return the fields of a result, by DuckDB's types and by what is known of the columns.

        :param found: DuckDB's types.
        """
        fields = [types.field_of(name, kind) for name, kind in zip(names, found, strict=True)]
        if outputs is not None and len(outputs) == len(fields):
            known = zip(fields, outputs, found, strict=True)
            fields = [
                types.refined(field, kinds.field_of(field["name"], out.kind), kind)
                if out.kind is not None and out.kind.is_known
                else field
                for field, out, kind in known
            ]
        _check_columns(fields, legacy=self.legacy)
        return fields

    def _retrying(self, attempt: Callable[[], _T]) -> _T:
        """Run what reads tables again when one was replaced between its look-up and its reading."""
        import duckdb

        for _ in range(5):
            try:
                return attempt()
            except duckdb.CatalogException as error:
                if not _PHYSICAL.search(str(error).partition("\n")[0]):
                    raise query_error(error, self.tree) from error
            except duckdb.Error as error:
                raise query_error(error, self.tree) from error
        raise ApiError(400, "The tables changed too often while the query ran.", reason="invalidQuery")

    # Statements

    def _select(self) -> Outcome:
        text, outputs, referenced = self._translated(self.tree)
        given = self.configuration.get("destinationTable")
        if given:
            name = TableName.from_reference(given, self.project)
        else:
            suffix = f"_{self.number}" if self.number > 0 else ""
            name = TableName(self.project, ANONYMOUS_DATASET, f"anon{re.sub(r'[^A-Za-z0-9_]', '_', self.job['jobId'])}{suffix}")
        if not given:
            text, outputs = _renamed(text, outputs)
        written = None
        if not self.dry_run and not given and outputs is not None and _are_scalars(outputs):
            fields, written = self._write_directly(name, text, outputs)
        else:
            text, fields = self._described(text, outputs, self.tree)
            if not self.dry_run:
                written = self._write(name, fields, text, self.configuration.get("writeDisposition") or "WRITE_EMPTY")
        statistics = {"schema": {"fields": fields}, "referencedTables": [table.reference() for table in referenced]}
        return Outcome("SELECT", statistics, name, has_rows=True, written=written)

    def _write_directly(self, name: TableName, text: str, outputs: list[Output]) -> tuple[list[Field], int]:
        """Write a result of scalars, and return its fields and how many rows it has.

        DuckDB looks at the query only once, which takes long for a wide table.

        :param name: the anonymous table of the result.
        :param outputs: what is known of its columns; their names are not the same.
        """
        physical, written = self._retrying(lambda: self.engine.create_as(text))
        try:
            with self.engine.cursor() as cursor:
                relation = cursor.sql(f"FROM {physical}")
                fields = self._fields(relation.columns, relation.types, outputs)
                rows = f"FROM {physical}"
                if (cast := _typed(rows, fields, relation.types)) is not rows:
                    plain, (physical, _) = physical, self._retrying(lambda: self.engine.create_as(cast))
                    self.engine.drop_table(plain)
            self.catalog.publish(name, fields, physical)
        except BaseException:
            self.engine.drop_table(physical)
            raise
        return fields, written

    def _materialize(self, cursor: duckdb.DuckDBPyConnection, fields: list[Field], text: str) -> str:
        """Put a query's result into a new physical table, and return its name."""
        physical = self._retrying(lambda: self.engine.create_table(cursor, fields, text))
        if name := load.with_null_element(cursor, fields, physical):
            self.engine.drop_table(physical)
            raise invalid_query(f"Array cannot have a null element; error in writing field {name}")
        return physical

    def _write(
        self, name: TableName, fields: list[Field], text: str, disposition: str, resource: dict[str, Any] | None = None
    ) -> int:
        options = self.configuration.get("schemaUpdateOptions") or []

        def fill(cursor: duckdb.DuckDBPyConnection) -> str:
            return self._materialize(cursor, fields, text)

        return load.write(
            self.catalog,
            name,
            fields,
            fill,
            disposition,
            create_disposition=self.configuration.get("createDisposition") or "CREATE_IF_NEEDED",
            add_fields="ALLOW_FIELD_ADDITION" in options,
            resource=resource,
        )

    def _export(self) -> Outcome:
        properties = {_option_name(prop): ddl.literal(prop) for prop in self.tree.args["options"].expressions}
        target = export.options_of(properties)
        text, fields, referenced = self._prepare(self.tree.this)
        read = {"referencedTables": [name.reference() for name in referenced]}
        if self.dry_run:
            return Outcome("EXPORT_DATA", read)
        self.objects.get_bucket(target.bucket)
        with self.engine.cursor() as cursor:
            physical = self._materialize(cursor, fields, text)
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
        translator = self._translator()
        name = translator.table_name(table)
        target = self.catalog.table(name)
        target.writable()
        defaults = {f["name"]: f["defaultValueExpression"] for f in target.fields if f.get("defaultValueExpression")}
        if defaults:
            _put_defaults(tree, defaults)
        count, referenced = self._retrying(lambda: self._execute_change(tree, name))
        rows = {"INSERT": "insertedRowCount", "UPDATE": "updatedRowCount", "DELETE": "deletedRowCount"}
        statistics: dict[str, Any] = {
            "numDmlAffectedRows": str(count),
            "referencedTables": [table.reference() for table in referenced],
        }
        if kind in rows:
            statistics["dmlStats"] = {rows[kind]: str(count)}
        return Outcome(kind, statistics, name, written=count)

    def _execute_change(self, tree: exp.Expr, name: TableName) -> tuple[int, list[TableName]]:
        """Change a table; return how many rows that were, and the tables that were read."""
        from sqlglot import exp

        with self.engine.write_lock:
            translator = self._translator()
            text = sql.to_duckdb(translator.resolve(tree.copy()))
            self.engine.provide(text)
            if self.dry_run:
                with self.engine.cursor() as cursor:
                    cursor.execute("EXPLAIN " + text)
                return 0, translator.referenced
            with self.engine.transaction() as cursor:
                row = cursor.execute(text).fetchone()
                if not isinstance(tree, exp.Delete):
                    table = self.catalog.table(name)
                    self.engine.fill_arrays(cursor, table.fields, table.rows())
                    if wrong := load.with_null_element(cursor, table.fields, table.rows()):
                        raise invalid_query(f"Array cannot have a null element; error in writing field {wrong}")
            self.catalog.touch(name)
        return int(row[0]) if row else 0, translator.referenced

    def _assert(self, match: re.Match[str]) -> Outcome:
        import sqlglot

        self.tree = sql.parse(f"SELECT ({match['condition']})", legacy=False)[0]
        text, _, _ = self._prepare(self.tree)
        if not self.dry_run:
            with self.engine.cursor() as cursor:
                row = self._retrying(lambda: cursor.execute(text).fetchone())
            if row is None or row[0] is not True:
                message = sqlglot.parse_one(match["message"], read="bigquery").name if match["message"] else "Assertion failed"
                raise invalid_query(message)
        return Outcome("ASSERT", {})

    # DDL

    def _create(self) -> Outcome:
        from sqlglot import exp

        tree = self.tree
        kind = str(tree.args.get("kind")).upper()
        if kind == "FUNCTION":
            return self._create_function()
        handler = {"TABLE": self._create_table, "VIEW": self._create_view, "SCHEMA": self._create_schema}.get(kind)
        properties = tree.args["properties"].expressions if tree.args.get("properties") else []
        self.is_temporary = kind == "TABLE" and any(isinstance(prop, exp.TemporaryProperty) for prop in properties)
        if self.is_temporary:
            properties = [prop for prop in properties if not isinstance(prop, exp.TemporaryProperty)]
        self.options = {key: value for key, value in ddl.options(properties).items() if value is not None}
        if handler is None or tree.args.get("clone") or tree.args.get("shallow"):
            raise ApiError(501, f"The emulator does not do CREATE {kind} of this form.")
        return handler()

    def _create_table(self) -> Outcome:
        from sqlglot import exp

        tree = self.tree
        declared = isinstance(tree.this, exp.Schema)
        name = self._created_name(tree.this.this if declared else tree.this)
        fields = self._declared(tree.this.expressions) if declared else []
        query = tree.args.get("expression")
        statement = "CREATE_TABLE_AS_SELECT" if query is not None else "CREATE_TABLE"
        text, read = "", {}
        if query is not None:
            text, made, referenced = self._prepare(query, needs_names=not declared and "CREATE TABLE")
            read = {"referencedTables": [table.reference() for table in referenced]}
            if declared and len(made) != len(fields):
                raise invalid_query("The number of columns in the column definition list does not match the query's")
            fields = fields or made
        elif not declared:
            raise ApiError(501, "The emulator's CREATE TABLE needs columns or a query.")
        exists = self.catalog.find(name) is not None
        operation = self._operation(name, exists=exists, what="Table")
        shown = {"ddlOperationPerformed": operation, "ddlTargetTable": name.reference(), "schema": {"fields": fields}}
        written = None
        if not self.dry_run and operation != "SKIP":
            text = text or f"SELECT {', '.join(f'CAST(NULL AS {types.duckdb_type(f)})' for f in fields)} WHERE false"
            disposition = "WRITE_TRUNCATE" if operation == "REPLACE" else "WRITE_EMPTY"
            written = self._write(name, fields, text, disposition, self.options)
        return Outcome(statement, {**shown, **read}, name, written=written if query is not None else None)

    def _created_name(self, table: exp.Table) -> TableName:
        """Return the name of a table that is to be made; a temporary one is the session's or the script's."""
        if not self.is_temporary:
            # It may have the name of a temporary one.
            return self._translator(sees_temporary=False).table_name(table)
        if not self.session and not self.is_script:
            raise invalid_query("Use of CREATE TEMPORARY TABLE requires a script or session")
        parts = [part.name for part in table.parts]
        if len(parts) > 1 and parts[0].upper() != "_SESSION":
            raise invalid_query(f"A temporary table has no dataset: {'.'.join(parts)}")
        if self.temporary is None:
            self.temporary = DatasetName(self.project, SESSION_PREFIX + uuid.uuid4().hex)
            self.catalog.create_dataset(self.temporary.project, self.temporary.dataset, self.job["location"])
        return TableName(self.temporary.project, self.temporary.dataset, parts[-1])

    def _operation(self, name: TableName | RoutineName, *, exists: bool, what: str) -> str:
        self.catalog.check_location(DatasetName(name.project, name.dataset), self.job["location"])
        if not exists:
            return "CREATE"
        if self.tree.args.get("replace"):
            return "REPLACE"
        if self.tree.args.get("exists"):
            return "SKIP"
        raise ApiError(409, f"Already Exists: {what} {name}")

    def _declared(self, definitions: list[exp.Expr]) -> list[Field]:
        from sqlglot import exp

        fields = []
        for definition in definitions:
            if not isinstance(definition, exp.ColumnDef) or definition.args.get("kind") is None:
                raise ApiError(501, f"The emulator's CREATE TABLE does not do {definition.sql('bigquery')}.")
            field: Field = {"mode": "NULLABLE"}
            for constraint in definition.constraints:
                if isinstance(constraint.kind, exp.NotNullColumnConstraint):
                    field["mode"] = "REQUIRED"
                elif isinstance(constraint.kind, exp.DefaultColumnConstraint):
                    field["defaultValueExpression"] = constraint.kind.this.sql("bigquery")
                elif isinstance(constraint.kind, exp.Properties):
                    field |= {prop.name.lower(): ddl.literal(prop) for prop in constraint.kind.expressions}
                else:
                    raise ApiError(501, f"The emulator's CREATE TABLE does not do {constraint.sql('bigquery')}.")
            plain = definition.args["kind"].copy()
            for kind in plain.find_all(exp.DataType):
                if kind.expressions and not kind.args.get("nested"):
                    kind.set("expressions", None)
            column = sql.to_duckdb(self._translator().resolve(exp.select(exp.Cast(this=exp.Null(), to=plain))))
            with self.engine.cursor() as cursor:
                described = self._retrying(lambda column=column, cursor=cursor: self.engine.describe(cursor, column))[0]  # type: ignore[misc]
            described = ddl.with_parameters(described, definition.args["kind"])
            mode = "REPEATED" if described["mode"] == "REPEATED" else field["mode"]
            fields.append({**described, **field, "name": definition.name, "mode": mode})
        try:
            return types.normalize_fields(fields)
        except ApiError as error:
            raise invalid_query(error.message) if error.code == 400 else error from error

    def _create_view(self) -> Outcome:
        from sqlglot import exp

        if isinstance(self.tree.this, exp.Schema):
            raise ApiError(501, "The emulator's CREATE VIEW has no list of columns; name them in the query.")
        name = self._translator().table_name(self.tree.this)
        query = self.tree.args["expression"]
        _, fields, _ = self._prepare(query, needs_names="CREATE VIEW")
        existing = self.catalog.find(name)
        operation = self._operation(name, exists=existing is not None, what="Table")
        if not self.dry_run and operation != "SKIP":
            if existing is not None:
                self.catalog.delete_table(name)
            view = {"query": query.sql("bigquery"), "useLegacySql": False}
            self.catalog.create_table(name, {"view": view, **self.options}, fields)
        shown = {"ddlOperationPerformed": operation, "ddlTargetTable": name.reference(), "schema": {"fields": fields}}
        return Outcome("CREATE_VIEW", shown, name)

    def _create_function(self) -> Outcome:
        from sqlglot import exp

        tree: Any = self.tree
        resource, is_temporary = routines.resource_of(tree)
        statement = "CREATE_TABLE_FUNCTION" if resource["routineType"] == "TABLE_VALUED_FUNCTION" else "CREATE_FUNCTION"
        table = tree.this.this if isinstance(tree.this, exp.UserDefinedFunction) else tree.this
        if is_temporary:
            reference = {"projectId": self.project, "datasetId": "", "routineId": table.name}
            function = routines.function_of({**resource, "routineReference": reference}, self.project)
            self.functions[table.name.lower()] = replace(function, name=table.name)
            return Outcome(statement, {})
        name = self._routine_name(table)
        exists = self.catalog.find_routine(name) is not None
        operation = self._operation(name, exists=exists, what="Routine")
        if not self.dry_run and operation != "SKIP":
            self.runner.put_routine(name, resource, replace=operation == "REPLACE")
        return Outcome(statement, {"ddlOperationPerformed": operation, "ddlTargetRoutine": name.reference()})

    def _routine_name(self, table: exp.Table) -> RoutineName:
        name = self._translator().table_name(table)
        return RoutineName(name.project, name.dataset, name.table)

    def _drop_routine(self, kind: str) -> Outcome:
        name = self._routine_name(self._dropped())
        operation = "DROP"
        if self.catalog.find_routine(name) is None and self.tree.args.get("exists"):
            operation = "SKIP"
        elif (self.catalog.routine(name)["routineType"] == "PROCEDURE") != (kind == "PROCEDURE"):
            raise invalid_query(f"{name} is a {'FUNCTION' if kind == 'PROCEDURE' else 'PROCEDURE'}, not a {kind}")
        elif not self.dry_run:
            self.catalog.delete_routine(name)
        return Outcome(f"DROP_{kind}", {"ddlOperationPerformed": operation, "ddlTargetRoutine": name.reference()})

    def _alter(self) -> Outcome:
        from sqlglot import exp

        tree = self.tree
        kind = str(tree.args.get("kind")).upper()
        if kind not in ("TABLE", "VIEW"):
            raise ApiError(501, f"The emulator does not do ALTER {kind}.")
        name = self._translator().table_name(tree.this)
        self.catalog.check_location(name.parent, self.job["location"])
        if self.catalog.find(name) is None and tree.args.get("exists"):
            return Outcome(f"ALTER_{kind}", {"ddlOperationPerformed": "SKIP", "ddlTargetTable": name.reference()}, name)
        for action in tree.args["actions"]:
            table = self.catalog.table(name)
            added = self._declared([action]) if isinstance(action, exp.ColumnDef) else []
            if not self.dry_run:
                ddl.alter(self.catalog, table, action, added)
        return Outcome(f"ALTER_{kind}", {"ddlOperationPerformed": "ALTER", "ddlTargetTable": name.reference()}, name)

    def _dropped(self) -> exp.Table:
        tables: list[exp.Table] = self.tree.args["tables"]
        if len(tables) > 1:
            raise invalid_query('Syntax error: Expected end of input but got ","')
        return tables[0]

    def _schema_name(self) -> DatasetName:
        from sqlglot import exp

        table = self._dropped() if isinstance(self.tree, exp.Drop) else self.tree.this
        parts = [part.name for part in table.parts if part is not None]
        parts = parts[0].split(".") if len(parts) == 1 else parts
        return DatasetName(parts[0] if len(parts) > 1 else self.project, parts[-1])

    def _create_schema(self) -> Outcome:
        name, options = self._schema_name(), dict(self.options)
        location = str(options.pop("location", "US"))
        operation = "CREATE"
        try:
            if not self.dry_run:
                self.catalog.create_dataset(name.project, name.dataset, location, options)
        except ApiError as error:
            if error.code != 409 or not self.tree.args.get("exists"):
                raise
            operation = "SKIP"
        return Outcome("CREATE_SCHEMA", {"ddlOperationPerformed": operation, "ddlTargetDataset": name.reference()})

    def _drop(self) -> Outcome:
        kind = str(self.tree.args.get("kind")).upper()
        if kind == "SCHEMA":
            return self._drop_schema()
        if kind in ("FUNCTION", "PROCEDURE"):
            return self._drop_routine(kind)
        if kind not in ("TABLE", "VIEW", "EXTERNAL TABLE"):
            raise ApiError(501, f"The emulator does not do DROP {kind}.")
        if self.tree.args.get("materialized"):
            kind = "MATERIALIZED VIEW"
        name = self._translator().table_name(self._dropped())
        table = self.catalog.find(name)
        operation = "DROP"
        if table is None:
            if not self.tree.args.get("exists"):
                raise ApiError(404, f"Not found: Table {name}")
            operation = "SKIP"
        elif (found := _KINDS.get(table.kind, "TABLE")) != kind:
            raise invalid_query(f"{name} is a {found}, not a {kind}")
        elif not self.dry_run:
            self.catalog.delete_table(name)
        return Outcome(
            f"DROP_{kind.replace(' ', '_')}", {"ddlOperationPerformed": operation, "ddlTargetTable": name.reference()}, name
        )

    def _drop_schema(self) -> Outcome:
        name = self._schema_name()
        operation = "DROP"
        try:
            self.catalog.get_dataset(name.project, name.dataset)
            if not self.dry_run:
                self.catalog.delete_dataset(name.project, name.dataset, delete_contents=bool(self.tree.args.get("cascade")))
        except ApiError as error:
            if error.code != 404 or not self.tree.args.get("exists"):
                raise
            operation = "SKIP"
        return Outcome("DROP_SCHEMA", {"ddlOperationPerformed": operation, "ddlTargetDataset": name.reference()})


#: What DROP says of a table's type.
_KINDS = {"VIEW": "VIEW", "MATERIALIZED_VIEW": "MATERIALIZED VIEW", "EXTERNAL": "EXTERNAL TABLE"}
#: The first words of statements that BigQuery has and the emulator has not.
_BIGQUERY_WORDS = {
    "DECLARE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "EXECUTE",
    "GRANT",
    "REVOKE",
    "LOAD",
    "ALTER",
    "RAISE",
    "LOOP",
    "WHILE",
    "FOR",
    "IF",
}


def boolean(value: Any) -> bool:
    """Return a JSON boolean, which Google takes as a string too."""
    return value if isinstance(value, bool) else str(value).lower() == "true"


def session_of(configuration: dict[str, Any]) -> str | None:
    """Return the id of the session that a query names."""
    for given in configuration.get("connectionProperties") or []:
        if given.get("key") == "session_id" and re.fullmatch(r"\w+", str(given.get("value"))):
            return str(given["value"])
    return None


def default_dataset(configuration: dict[str, Any], project: str) -> DatasetName | None:
    """Return the dataset of the tables that a query names without one.

    :param project: the job's project.
    """
    default = configuration.get("defaultDataset")
    return DatasetName(default.get("projectId") or project, default["datasetId"]) if default else None


def _put_defaults(tree: exp.Expr, defaults: dict[str, str]) -> None:
    """Have an INSERT write the default values of columns that it does not name."""
    from sqlglot import exp

    if isinstance(tree, exp.Merge) and tree.find(exp.Insert):
        raise ApiError(501, "The emulator's MERGE does not fill in default values.")
    if not isinstance(tree, exp.Insert) or not isinstance(tree.this, exp.Schema):
        return
    named = {column.name.lower() for column in tree.this.expressions}
    for name, text in defaults.items():
        if name.lower() in named:
            continue
        tree.this.append("expressions", exp.to_identifier(name, quoted=True))
        value = sql.parse(f"SELECT ({text})", legacy=False)[0].expressions[0]
        if isinstance(tree.expression, exp.Values):
            for row in tree.expression.expressions:
                row.append("expressions", value.copy())
        elif isinstance(tree.expression, exp.Select) and not tree.expression.args.get("distinct"):
            tree.expression.append("expressions", value.copy())
        else:
            raise ApiError(501, "The emulator's INSERT fills in default values in VALUES and plain SELECTs only.")


def _option_name(prop: exp.Expr) -> str:
    from sqlglot import exp

    return "format" if isinstance(prop, exp.FileFormatProperty) else str(prop.name).lower()


def _typed(text: str, fields: list[Field], found: list[Any]) -> str:
    """Return a query whose columns have the types of their fields; the same text when they have them.

    :param found: DuckDB's types of its columns.
    """
    if all(
        types.duckdb_type(field).replace(" ", "") == str(kind).replace(" ", "").replace('"', "")
        for field, kind in zip(fields, found, strict=True)
    ):
        return text
    columns = ", ".join(f"CAST({types.quote(f['name'])} AS {types.duckdb_type(f)}) AS {types.quote(f['name'])}" for f in fields)
    return f"SELECT {columns} FROM ({text})"


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


def _check_columns(fields: list[Field], *, legacy: bool) -> None:
    seen: set[str] = set()
    for column in fields:
        if column["name"].lower() in seen:
            raise invalid_query(
                "Duplicate column names in the result are not supported when a destination table is present. "
                f"Found duplicate(s): {column['name']}"
            )
        seen.add(column["name"].lower())
        if legacy and (column["mode"] == "REPEATED" or column["type"] == "RECORD"):
            raise ApiError(501, "The emulator does not flatten the results of legacy SQL; use GoogleSQL.")
