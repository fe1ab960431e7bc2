"""What CREATE, ALTER and DROP do."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.names import SESSION_PREFIX, DatasetName, RoutineName, TableName
from gcp_dicom_emulator.bigquery.sql import ddl, grammar, routines, types
from gcp_dicom_emulator.bigquery.sql import translation as sql
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.bigquery.sql.run import Outcome, Run
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: What DROP says of a table's type.
_KINDS = {"VIEW": "VIEW", "MATERIALIZED_VIEW": "MATERIALIZED VIEW", "EXTERNAL": "EXTERNAL TABLE"}


def create(run: Run) -> Outcome:
    """Do a CREATE.

    :raises ApiError: 409 for what is there, 501 for what the emulator does not do.
    """
    from sqlglot import exp

    tree = run.tree
    kind = str(tree.args.get("kind")).upper()
    if kind == "FUNCTION":
        return _create_function(run)
    properties = tree.args["properties"].expressions if tree.args.get("properties") else []
    is_temporary = kind == "TABLE" and any(isinstance(prop, exp.TemporaryProperty) for prop in properties)
    if is_temporary:
        properties = [prop for prop in properties if not isinstance(prop, exp.TemporaryProperty)]
    options = {key: value for key, value in ddl.options(properties).items() if value is not None}
    if kind not in ("TABLE", "VIEW", "SCHEMA") or tree.args.get("clone") or tree.args.get("shallow"):
        raise ApiError(501, f"The emulator does not do CREATE {kind} of this form.")
    if kind == "TABLE":
        return _create_table(run, options, is_temporary=is_temporary)
    return _create_view(run, options) if kind == "VIEW" else _create_schema(run, options)


def _create_table(run: Run, options: dict[str, Any], *, is_temporary: bool) -> Outcome:
    from sqlglot import exp

    tree = run.tree
    declared = isinstance(tree.this, exp.Schema)
    table = tree.this.this if declared else tree.this
    # A plain one may have the name of a temporary one.
    name = _temporary_name(run, table) if is_temporary else run.translator(sees_temporary=False).table_name(table)
    fields = _declared(run, tree.this.expressions) if declared else []
    query = tree.args.get("expression")
    statement = "CREATE_TABLE_AS_SELECT" if query is not None else "CREATE_TABLE"
    text, read = "", {}
    if query is not None:
        text, made, referenced = run.prepare(query, needs_names=not declared and "CREATE TABLE")
        read = {"referencedTables": [table.reference() for table in referenced]}
        if declared and len(made) != len(fields):
            raise invalid_query("The number of columns in the column definition list does not match the query's")
        fields = fields or made
    elif not declared:
        raise ApiError(501, "The emulator's CREATE TABLE needs columns or a query.")
    operation = _table_operation(run, name, "TABLE")
    shown = {"ddlOperationPerformed": operation, "ddlTargetTable": name.reference(), "schema": {"fields": fields}}
    written = None
    if not run.dry_run and operation != "SKIP":
        text = text or f"SELECT {', '.join(f'CAST(NULL AS {types.duckdb_type(f)})' for f in fields)} WHERE false"
        disposition = "WRITE_TRUNCATE" if operation == "REPLACE" else "WRITE_EMPTY"
        if operation == "REPLACE":
            # Nothing stays of the table that was there.
            options = {**dict.fromkeys(ddl.SAID), **options}
        written = run.write(name, fields, text, disposition, options)
    return Outcome(statement, {**shown, **read}, name, written=written if query is not None else None)


def _temporary_name(run: Run, table: exp.Table) -> TableName:
    """Return the name of a temporary table that is to be made: the session's, or the script's."""
    if not run.session and not run.is_script:
        raise invalid_query("Use of CREATE TEMPORARY TABLE requires a script or session")
    parts = [part.name for part in table.parts]
    if len(parts) > 1 and parts[0].upper() != "_SESSION":
        raise invalid_query(f"A temporary table has no dataset: {'.'.join(parts)}")
    if run.temporary is None:
        run.temporary = DatasetName(run.project, SESSION_PREFIX + uuid.uuid4().hex)
        run.catalog.create_dataset(run.temporary.project, run.temporary.dataset, run.job["location"])
    return TableName(run.temporary.project, run.temporary.dataset, parts[-1])


def _declared(run: Run, definitions: list[exp.Expr]) -> list[Field]:
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
                field["defaultValueExpression"] = grammar.written(constraint.kind.this)
            elif isinstance(constraint.kind, exp.Properties):
                field |= {prop.name.lower(): ddl.literal(prop) for prop in constraint.kind.expressions}
            else:
                raise ApiError(501, f"The emulator's CREATE TABLE does not do {constraint.sql('bigquery')}.")
        plain = definition.args["kind"].copy()
        for kind in plain.find_all(exp.DataType):
            if kind.expressions and not kind.args.get("nested"):
                kind.set("expressions", None)
        column = sql.to_duckdb(run.translator().resolve(exp.select(exp.Cast(this=exp.Null(), to=plain))))
        with run.engine.cursor() as cursor:
            described = run.retrying(lambda column=column, cursor=cursor: run.engine.describe(cursor, column))[0]  # type: ignore[misc]
        described = ddl.with_parameters(described, definition.args["kind"])
        mode = "REPEATED" if described["mode"] == "REPEATED" else field["mode"]
        fields.append({**described, **field, "name": definition.name, "mode": mode})
    try:
        return types.normalize_fields(fields)
    except ApiError as error:
        raise invalid_query(error.message) if error.code == 400 else error from error


def _create_view(run: Run, options: dict[str, Any]) -> Outcome:
    from sqlglot import exp

    if isinstance(run.tree.this, exp.Schema):
        raise ApiError(501, "The emulator's CREATE VIEW has no list of columns; name them in the query.")
    name = run.translator().table_name(run.tree.this)
    query = run.tree.args["expression"]
    _, fields, referenced = run.prepare(query, needs_names="CREATE VIEW")
    if name in referenced:
        raise invalid_query(f"View {name} cannot read itself")
    operation = _table_operation(run, name, "VIEW")
    if not run.dry_run and operation != "SKIP":
        if operation == "REPLACE":
            run.catalog.delete_table(name)
        view = {"query": grammar.written(query), "useLegacySql": False}
        run.catalog.create_table(name, {"view": view, **options}, fields)
    shown = {"ddlOperationPerformed": operation, "ddlTargetTable": name.reference(), "schema": {"fields": fields}}
    return Outcome("CREATE_VIEW", shown, name)


def _create_function(run: Run) -> Outcome:
    from sqlglot import exp

    tree: Any = run.tree
    resource, is_temporary = routines.resource_of(tree)
    statement = "CREATE_TABLE_FUNCTION" if resource["routineType"] == "TABLE_VALUED_FUNCTION" else "CREATE_FUNCTION"
    table = tree.this.this if isinstance(tree.this, exp.UserDefinedFunction) else tree.this
    if is_temporary:
        reference = {"projectId": run.project, "datasetId": "", "routineId": table.name}
        function = routines.function_of({**resource, "routineReference": reference}, run.project)
        run.functions[table.name.lower()] = replace(function, name=table.name)
        return Outcome(statement, {})
    name = routine_name(run, table)
    exists = run.catalog.find_routine(name) is not None
    operation = _operation(run, name, exists=exists, what="Routine")
    if not run.dry_run and operation != "SKIP":
        run.runner.put_routine(name, resource, replace=operation == "REPLACE")
    return Outcome(statement, {"ddlOperationPerformed": operation, "ddlTargetRoutine": name.reference()})


def _create_schema(run: Run, options: dict[str, Any]) -> Outcome:
    name = _schema_name(run)
    location = str(options.pop("location", "US"))
    operation = "CREATE"
    try:
        if not run.dry_run:
            run.catalog.create_dataset(name.project, name.dataset, location, options)
    except ApiError as error:
        if error.code != 409 or not run.tree.args.get("exists"):
            raise
        operation = "SKIP"
    return Outcome("CREATE_SCHEMA", {"ddlOperationPerformed": operation, "ddlTargetDataset": name.reference()})


def _table_operation(run: Run, name: TableName, kind: str) -> str:
    """Return what is to be done to make a table or a view.

    :raises ApiError: 400 for one that would take the place of another kind.
    """
    existing = run.catalog.find(name)
    operation = _operation(run, name, exists=existing is not None, what="Table")
    if existing is not None and operation == "REPLACE" and existing.kind != kind:
        reason = f"{name} is not allowed for this operation because it is currently a {existing.kind}."
        raise ApiError(400, reason, reason="invalid")
    return operation


def _operation(run: Run, name: TableName | RoutineName, *, exists: bool, what: str) -> str:
    run.catalog.check_location(DatasetName(name.project, name.dataset), run.job["location"])
    if not exists:
        return "CREATE"
    if run.tree.args.get("replace"):
        return "REPLACE"
    if run.tree.args.get("exists"):
        return "SKIP"
    raise ApiError(409, f"Already Exists: {what} {name}")


def alter(run: Run) -> Outcome:
    """Do an ALTER."""
    from sqlglot import exp

    tree = run.tree
    kind = str(tree.args.get("kind")).upper()
    if kind not in ("TABLE", "VIEW"):
        raise ApiError(501, f"The emulator does not do ALTER {kind}.")
    name = run.translator().table_name(tree.this)
    run.catalog.check_location(name.parent, run.job["location"])
    if run.catalog.find(name) is None and tree.args.get("exists"):
        return Outcome(f"ALTER_{kind}", {"ddlOperationPerformed": "SKIP", "ddlTargetTable": name.reference()}, name)
    table = run.catalog.table(name)
    declared: dict[int, Field] = {}
    for action in tree.args["actions"]:
        column = action
        if isinstance(action, exp.AlterColumn) and action.args.get("dtype") is not None:
            column = exp.ColumnDef(this=exp.to_identifier(action.this.name), kind=action.args["dtype"].copy())
        if isinstance(column, exp.ColumnDef):
            declared[id(action)] = _declared(run, [column])[0]
    if not run.dry_run:
        ddl.alter(run.catalog, table, tree.args["actions"], declared)
    return Outcome(f"ALTER_{kind}", {"ddlOperationPerformed": "ALTER", "ddlTargetTable": name.reference()}, name)


def drop(run: Run) -> Outcome:
    """Do a DROP.

    :raises ApiError: 404 for what is not there, unless the statement allows it.
    """
    kind = str(run.tree.args.get("kind")).upper()
    if kind == "SCHEMA":
        return _drop_schema(run)
    if kind in ("FUNCTION", "PROCEDURE"):
        return _drop_routine(run, kind)
    if kind not in ("TABLE", "VIEW", "EXTERNAL TABLE"):
        raise ApiError(501, f"The emulator does not do DROP {kind}.")
    if run.tree.args.get("materialized"):
        kind = "MATERIALIZED VIEW"
    name = run.translator().table_name(_dropped(run))
    table = run.catalog.find(name)
    operation = "DROP"
    if table is None:
        if not run.tree.args.get("exists"):
            raise ApiError(404, f"Not found: Table {name}")
        operation = "SKIP"
    elif (found := _KINDS.get(table.kind, "TABLE")) != kind:
        raise invalid_query(f"{name} is a {found}, not a {kind}")
    elif not run.dry_run:
        run.catalog.delete_table(name)
    return Outcome(
        f"DROP_{kind.replace(' ', '_')}", {"ddlOperationPerformed": operation, "ddlTargetTable": name.reference()}, name
    )


def _drop_schema(run: Run) -> Outcome:
    name = _schema_name(run)
    operation = "DROP"
    try:
        run.catalog.get_dataset(name.project, name.dataset)
        if not run.dry_run:
            run.catalog.delete_dataset(name.project, name.dataset, delete_contents=bool(run.tree.args.get("cascade")))
    except ApiError as error:
        if error.code != 404 or not run.tree.args.get("exists"):
            raise
        operation = "SKIP"
    return Outcome("DROP_SCHEMA", {"ddlOperationPerformed": operation, "ddlTargetDataset": name.reference()})


def _drop_routine(run: Run, kind: str) -> Outcome:
    name = routine_name(run, _dropped(run))
    operation = "DROP"
    if run.catalog.find_routine(name) is None and run.tree.args.get("exists"):
        operation = "SKIP"
    elif (run.catalog.routine(name)["routineType"] == "PROCEDURE") != (kind == "PROCEDURE"):
        raise invalid_query(f"{name} is a {'FUNCTION' if kind == 'PROCEDURE' else 'PROCEDURE'}, not a {kind}")
    elif not run.dry_run:
        run.catalog.delete_routine(name)
    return Outcome(f"DROP_{kind}", {"ddlOperationPerformed": operation, "ddlTargetRoutine": name.reference()})


def _dropped(run: Run) -> exp.Table:
    tables: list[exp.Table] = run.tree.args["tables"]
    if len(tables) > 1:
        raise invalid_query('Syntax error: Expected end of input but got ","')
    return tables[0]


def _schema_name(run: Run) -> DatasetName:
    from sqlglot import exp

    table = _dropped(run) if isinstance(run.tree, exp.Drop) else run.tree.this
    parts = [part.name for part in table.parts if part is not None]
    parts = parts[0].split(".") if len(parts) == 1 else parts
    return DatasetName(parts[0] if len(parts) > 1 else run.project, parts[-1])


def routine_name(run: Run, table: exp.Table) -> RoutineName:
    """Return the name of a routine that a statement names."""
    name = run.translator().table_name(table)
    return RoutineName(name.project, name.dataset, name.table)
