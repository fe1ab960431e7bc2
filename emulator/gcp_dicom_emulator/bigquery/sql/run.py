"""The run of a query job: what its statements need."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gcp_dicom_emulator.bigquery.catalog import Catalog, Table
from gcp_dicom_emulator.bigquery.jobs import load
from gcp_dicom_emulator.bigquery.names import SESSION_PREFIX, DatasetName, TableName
from gcp_dicom_emulator.bigquery.sql import kinds, parameters, routines, types
from gcp_dicom_emulator.bigquery.sql import translation as sql
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, query_error
from gcp_dicom_emulator.bigquery.sql.scopes import Output
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp

    from gcp_dicom_emulator.bigquery.sql.query import QueryRunner
    from gcp_dicom_emulator.storage.objects import ObjectStore

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


@dataclass
class Run:
    """A query job that runs.

    :param job: its ``JobReference``.
    :param configuration: its ``JobConfigurationQuery``.
    :param dry_run: only check it.
    :param runner: keeps the routines that it makes.
    """

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
    #: The statement that is run.
    tree: Any = None

    def __post_init__(self) -> None:
        self.legacy = boolean(self.configuration.get("useLegacySql", True))
        self.engine = self.catalog.engine

    @property
    def project(self) -> str:
        """The job's project."""
        return str(self.job["projectId"])

    def open_session(self) -> None:
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

    def translator(self, *, sees_temporary: bool = True) -> sql.Translator:
        """Return what translates a statement.

        :param sees_temporary: whether a name may be that of a temporary table.
        """
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

    def prepare(self, query: exp.Expr, *, needs_names: str | bool = "") -> tuple[str, list[Field], list[TableName]]:
        """Return a query as DuckDB's SQL whose columns have the types of BigQuery, its fields, and the tables it reads.

        :param needs_names: the statement whose columns must have names.
        """
        text, outputs, referenced = self.translated(query)
        for number, output in enumerate(outputs or [], start=1):
            if needs_names and output.name is None:
                raise invalid_query(f"{needs_names} columns must be named, but column {number} has no name")
        return *self.described(text, outputs, query), referenced

    def described(self, text: str, outputs: list[Output] | None, query: exp.Expr) -> tuple[str, list[Field]]:
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

    def translated(self, query: exp.Expr) -> tuple[str, list[Output] | None, list[TableName]]:
        """Return a query as DuckDB's SQL, what is known of its columns, and the tables it reads."""
        translator = self.translator()
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

    def retrying(self, attempt: Callable[[], _T]) -> _T:
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

    def scalar(self, value: exp.Expr) -> Any:
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

        text, (field,), _ = self.prepare(exp.select(exp.Alias(this=value.copy(), alias=exp.to_identifier("v"))))
        if field["mode"] == "REPEATED" or field["type"] == "RECORD":
            raise ApiError(501, "The emulator's default values and variables are scalars: no arrays, no structs.")
        forms = {"BYTES": "to_base64(v)", "JSON": "CAST(v AS VARCHAR)", "INTERVAL": "bq_string_of_interval(v)"}
        if field["type"] in ("GEOGRAPHY", "RANGE"):
            raise ApiError(501, f"The emulator has no variables and no default values of type {field['type']}.")
        written = forms.get(field["type"], "bq_string(v)")
        with self.engine.cursor() as cursor:
            row = self.retrying(lambda: cursor.execute(f"SELECT {written} FROM ({text})").fetchone())
        return field, row[0] if row else None

    def materialize(self, cursor: duckdb.DuckDBPyConnection, fields: list[Field], text: str) -> str:
        """Put a query's result into a new physical table, and return its name."""
        physical = self.retrying(lambda: self.engine.create_table(cursor, fields, text))
        if name := load.with_null_element(cursor, fields, physical):
            self.engine.drop_table(physical)
            raise invalid_query(f"Array cannot have a null element; error in writing field {name}")
        return physical

    def write(
        self, name: TableName, fields: list[Field], text: str, disposition: str, resource: dict[str, Any] | None = None
    ) -> int:
        """Write the rows of a query to a table, and return how many those are.

        :param text: the query, in DuckDB's SQL.
        :param resource: what a table that is made has beside its columns.
        """
        options = self.configuration.get("schemaUpdateOptions") or []

        def fill(cursor: duckdb.DuckDBPyConnection) -> str:
            return self.materialize(cursor, fields, text)

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

    def write_directly(self, name: TableName, text: str, outputs: list[Output]) -> tuple[list[Field], int]:
        """Write a result of scalars, and return its fields and how many rows it has.

        DuckDB looks at the query only once, which takes long for a wide table.

        :param name: the anonymous table of the result.
        :param outputs: what is known of its columns; their names are not the same.
        """
        physical, written = self.retrying(lambda: self.engine.create_as(text))
        try:
            with self.engine.cursor() as cursor:
                relation = cursor.sql(f"FROM {physical}")
                fields = self._fields(relation.columns, relation.types, outputs)
                rows = f"FROM {physical}"
                if (cast := _typed(rows, fields, relation.types)) is not rows:
                    plain, (physical, _) = physical, self.retrying(lambda: self.engine.create_as(cast))
                    self.engine.drop_table(plain)
            self.catalog.publish(name, fields, physical)
        except BaseException:
            self.engine.drop_table(physical)
            raise
        return fields, written

    def _external(self, table: Table) -> str:
        """Return a physical table with the rows that an external one has now."""
        from gcp_dicom_emulator.bigquery import external

        if table.name not in self.loaded:
            self.loaded[table.name] = external.read(self.catalog, self.objects, table)
        return self.catalog.table(self.loaded[table.name]).rows()

    def forget(self) -> None:
        """Forget the rows of external tables: the next statement looks again."""
        for name in self.loaded.values():
            self.catalog.delete_table(name)
        self.loaded.clear()


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


def _typed(text: str, fields: list[Field], found: list[Any]) -> str:
    """Return a query whose columns have the types of their fields; the same text when they have them.

    :param found: DuckDB's types of its columns.
    """
    if all(
        re.sub('[ "]', "", types.duckdb_type(field)) == re.sub('[ "]', "", str(kind))
        for field, kind in zip(fields, found, strict=True)
    ):
        return text
    columns = ", ".join(f"CAST({types.quote(f['name'])} AS {types.duckdb_type(f)}) AS {types.quote(f['name'])}" for f in fields)
    return f"SELECT {columns} FROM ({text})"


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


def boolean(value: Any) -> bool:
    """Return a JSON boolean, which Google takes as a string too."""
    return value if isinstance(value, bool) else str(value).lower() == "true"
