"""Functions that users define, temporary tables, sessions, default values, snapshots and Avro."""

from __future__ import annotations

import decimal
import io
import json
import zlib
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField, StandardSqlDataType

_INT64 = StandardSqlDataType(type_kind=bigquery.StandardSqlTypeNames.INT64)


def _rows(client: bigquery.Client, query: str, **options: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in client.query_and_wait(query, **options)]


@pytest.mark.parametrize(
    ("script", "rows"),
    [
        ("CREATE TEMP FUNCTION f(x INT64) AS (x * 2); SELECT f(3), f(n) FROM UNNEST([1, 2]) n ORDER BY n", [(6, 2), (6, 4)]),
        ("CREATE TEMP FUNCTION f(x FLOAT64, y STRING) RETURNS STRING AS (CONCAT(y, CAST(x AS STRING))); SELECT f(3, 'a')", [("a3",)]),
        ("CREATE TEMP FUNCTION f(x ANY TYPE) AS (x + 1); SELECT f(3), f(1.5)", [(4, 2.5)]),
        (
            "CREATE TEMP FUNCTION f(a ARRAY<INT64>) AS ((SELECT SUM(e) FROM UNNEST(a) e)); SELECT f([1, 2]), f(t.a) "
            "FROM (SELECT [4, 5] AS a) t",
            [(3, 9)],
        ),
        ("CREATE TEMP FUNCTION f(s STRUCT<a INT64>) AS (s.a + 1); SELECT f(STRUCT(2)) * f(STRUCT(3))", [(12,)]),
        ("CREATE TEMP FUNCTION f(x INT64) AS ((SELECT x FROM (SELECT 5 AS x))); SELECT f(1)", [(5,)]),
        ("CREATE TEMP FUNCTION f() AS (1); CREATE TEMP FUNCTION g() AS (f() + 1); SELECT g() AND_, f()", [(2, 1)]),
        ("CREATE TEMP TABLE t (x INT64); INSERT INTO t VALUES (5); UPDATE t SET x = 6 WHERE TRUE; SELECT * FROM t", [(6,)]),
        ("CREATE TEMP TABLE a AS SELECT 1 AS v; CREATE TEMP TABLE b AS SELECT v + 1 AS w FROM _SESSION.a; SELECT * FROM b", [(2,)]),
    ],
)  # fmt: skip
def test_scripts(client: bigquery.Client, script: str, rows: list[tuple[Any, ...]]) -> None:
    assert _rows(client, script) == rows
    assert not [one for one in client.list_datasets("p") if one.dataset_id.startswith("_")]


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("CREATE TEMP FUNCTION f(x INT64) AS (x); SELECT f('a')", 400, "No matching signature for function f"),
        ("CREATE TEMP FUNCTION f(x INT64) AS (x); SELECT f()", 400, "No matching signature for function f"),
        ("CREATE TEMP FUNCTION f(x INT64) AS (f(x)); SELECT f(1)", 400, "calls itself"),
        ("CREATE TEMP FUNCTION f(x FLOAT64) AS (x + x); SELECT f(RAND())", 501, "random"),
        ("CREATE TEMP FUNCTION f(a ANY TYPE) AS ((SELECT 1 FROM UNNEST(a) e)); SELECT f(e.a) FROM (SELECT [4] a) e", 501, "inside"),
        ("CREATE TEMP FUNCTION f(x STRING) RETURNS INT64 LANGUAGE js AS 'return 1'; SELECT f('a')", 501, "LANGUAGE js"),
        ("CREATE FUNCTION D.bad(x INT64) AS (y)", 400, "Unrecognized name: y"),
        ("SELECT D.none(1)", 400, "Function not found"),
        ("CREATE TEMP TABLE D.t AS SELECT 1 AS a; SELECT 1", 400, "has no dataset"),
        ("CREATE PROCEDURE D.p() BEGIN SELECT 1; SELECT 2; END", 501, "CREATE PROCEDURE"),
        ("CREATE TEMP VIEW v AS SELECT 1 AS a; SELECT 1", 501, "temporary"),
    ],
)  # fmt: skip
def test_refusals(client: bigquery.Client, dataset: str, query: str, code: int, words: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=words) as caught:
        client.query_and_wait(query.replace("D.", f"{dataset}."))
    assert caught.value.code == code


def test_functions_of_a_dataset(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(
        f"CREATE FUNCTION {dataset}.f(x INT64, s STRUCT<a INT64, b STRING>) AS (CONCAT(CAST(x + s.a AS STRING), s.b))"
    )
    calls = [f"{dataset}.f", f"p.{dataset}.f", f"`p.{dataset}.f`", f"`p`.{dataset}.f", f"`{dataset}`.`f`"]
    assert _rows(client, f"SELECT {', '.join(f'{one}(1, (2, {chr(39)}x{chr(39)}))' for one in calls)}") == [("3x",) * 5]
    client.query_and_wait(f"CREATE FUNCTION {dataset}.h(x INT64) AS (x + 1)")
    client.query_and_wait(f"CREATE FUNCTION {dataset}.k(x INT64) RETURNS FLOAT64 AS ({dataset}.h(x) * 10)")
    assert _rows(client, f"SELECT {dataset}.k({dataset}.h(1)), SUM({dataset}.h(n)) FROM UNNEST([1, 2]) n") == [(30.0, 5)]
    with pytest.raises(exceptions.Conflict):
        client.query_and_wait(f"CREATE FUNCTION {dataset}.h(x INT64) AS (x)")
    client.query_and_wait(f"CREATE OR REPLACE FUNCTION {dataset}.h(x INT64) AS (x)")
    client.query_and_wait(f"DROP FUNCTION {dataset}.k")
    client.query_and_wait(f"DROP FUNCTION IF EXISTS {dataset}.k")
    with pytest.raises(exceptions.NotFound):
        client.query_and_wait(f"DROP FUNCTION {dataset}.k")
    assert [one.routine_id for one in client.list_routines(dataset)] == ["f", "h"]
    with pytest.raises(exceptions.BadRequest, match="still in use"):
        client.delete_dataset(dataset)


def test_table_functions(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(
        f"CREATE TABLE FUNCTION {dataset}.f(low INT64) AS SELECT n, n * 2 AS m FROM UNNEST([1, 2, 3]) n WHERE n > low"
    )
    assert _rows(client, f"SELECT m FROM {dataset}.f(1) ORDER BY m") == [(4,), (6,)]
    assert _rows(client, f"SELECT t.n FROM `p.{dataset}.f`(1) AS t JOIN UNNEST([4]) x ON x = t.m") == [(2,)]
    client.query_and_wait(f"CREATE OR REPLACE TABLE FUNCTION {dataset}.g(low INT64) AS (SELECT n, m FROM {dataset}.f(low))")
    assert _rows(client, f"SELECT n, m FROM {dataset}.g(2)") == [(3, 6)]
    client.query_and_wait(f"DROP TABLE FUNCTION {dataset}.f")


def test_routines_by_rest(client: bigquery.Client, dataset: str) -> None:
    argument = bigquery.RoutineArgument(name="x", data_type=_INT64)
    routine = bigquery.Routine(f"p.{dataset}.f", type_="SCALAR_FUNCTION", language="SQL", body="x + 1", arguments=[argument])
    client.create_routine(routine)
    with pytest.raises(exceptions.Conflict):
        client.create_routine(routine)
    routine = client.get_routine(f"p.{dataset}.f")
    assert (routine.body, routine.arguments) == ("x + 1", [argument])
    routine.body = "x + 2"
    client.update_routine(routine, ["type_", "language", "arguments", "body"])
    assert _rows(client, f"SELECT {dataset}.f(1)") == [(3,)]
    client.delete_routine(routine)
    with pytest.raises(exceptions.NotFound):
        client.get_routine(f"p.{dataset}.f")
    script = bigquery.Routine(f"p.{dataset}.j", type_="SCALAR_FUNCTION", language="JAVASCRIPT", body="return 1")
    with pytest.raises(exceptions.MethodNotImplemented, match="SQL only"):
        client.create_routine(script)


def _make_procedure(client: bigquery.Client, name: str, body: str, **types: str) -> None:
    """Make a procedure whose arguments have these types."""
    kinds = {key: StandardSqlDataType(type_kind=bigquery.StandardSqlTypeNames[kind]) for key, kind in types.items()}
    arguments = [bigquery.RoutineArgument(name=key, data_type=kind) for key, kind in kinds.items()]
    client.create_routine(bigquery.Routine(name, type_="PROCEDURE", language="SQL", body=body, arguments=arguments))


def test_procedures(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t (x INT64, y STRING)")
    body = f"BEGIN DECLARE z INT64; SET z = x * 2; INSERT {dataset}.t VALUES (z, y); SELECT * FROM {dataset}.t ORDER BY x; END"
    _make_procedure(client, f"p.{dataset}.add", body, x="INT64", y="STRING")
    assert _rows(client, f"CALL {dataset}.add(1, 'a')") == [(2, "a")]
    # Its variables are its own; what it selects is not what the script ends with.
    script = f"DECLARE n INT64 DEFAULT 20; CALL `p.{dataset}.add`(n + 1, CONCAT('b', 'c')); SELECT n, COUNT(*) FROM {dataset}.t"
    assert _rows(client, script) == [(20, 2)]
    _make_procedure(client, f"p.{dataset}.twice", f"begin CALL {dataset}.add(5, 'd'); CALL {dataset}.add(6, 'e'); end;")
    assert _rows(client, f"CALL {dataset}.twice()") == [(2, "a"), (10, "d"), (12, "e"), (42, "bc")]
    assert [(one.routine_id, one.type_) for one in client.list_routines(dataset)] == [
        ("add", "PROCEDURE"),
        ("twice", "PROCEDURE"),
    ]
    with pytest.raises(exceptions.BadRequest, match="is a PROCEDURE, not a FUNCTION"):
        client.query_and_wait(f"DROP FUNCTION {dataset}.add")
    client.query_and_wait(f"DROP PROCEDURE {dataset}.add")
    client.query_and_wait(f"DROP PROCEDURE IF EXISTS {dataset}.add")
    client.delete_routine(f"p.{dataset}.twice")


@pytest.mark.parametrize(
    ("body", "query", "code", "words"),
    [
        ("SELECT 1", None, 400, "BEGIN"),
        ("BEGIN SELEC 1; END", None, 400, "Syntax error"),
        ("BEGIN IF TRUE THEN SELECT 1; END IF; END", None, 501, "IF"),
        ("BEGIN SELECT x; END", "CALL D.f()", 400, "takes 1 argument"),
        ("BEGIN SELECT x; END", "CALL D.f('a')", 400, "."),
        ("BEGIN SELECT x; END", "CALL D.g(1)", 400, "Procedure not found"),
        ("BEGIN SELECT x; END", "SELECT D.f(1)", 400, "Function not found"),
        ("BEGIN SELECT none; END", "CALL D.f(1)", 400, "Unrecognized name: none"),
        ("BEGIN CALL D.f(1); END", "CALL D.f(1)", 400, "nested"),
    ],
)
def test_refusals_of_procedures(
    client: bigquery.Client, dataset: str, body: str, query: str | None, code: int, words: str
) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=words) as caught:  # noqa: PT012
        _make_procedure(client, f"p.{dataset}.f", body.replace("D.", f"{dataset}."), x="INT64")
        client.query_and_wait((query or "").replace("D.", f"{dataset}."))
    assert caught.value.code == code


def test_a_session(client: bigquery.Client) -> None:
    config = bigquery.QueryJobConfig(create_session=True)
    first = client.query("CREATE TEMP TABLE t AS SELECT 1 AS a", job_config=config)
    first.result()
    assert first.session_info is not None
    within = [bigquery.ConnectionProperty("session_id", first.session_info.session_id)]
    config = bigquery.QueryJobConfig(connection_properties=within)
    assert _rows(client, "SELECT a FROM t", job_config=config) == [(1,)]
    with pytest.raises(exceptions.BadRequest, match="must be qualified"):
        client.query_and_wait("SELECT a FROM t")
    config.connection_properties = [bigquery.ConnectionProperty("session_id", "none")]
    with pytest.raises(exceptions.BadRequest, match="Invalid session"):
        client.query_and_wait("SELECT 1", job_config=config)


def test_default_values(client: bigquery.Client, dataset: str) -> None:
    fields = [SchemaField("a", "STRING", default_value_expression="'x'"), SchemaField("b", "INTEGER")]
    table = client.create_table(bigquery.Table(f"p.{dataset}.t", fields))
    assert table.schema == fields
    assert not client.insert_rows_json(table, [{"b": 1}, {"a": None, "b": 2}])
    client.query_and_wait(f"INSERT INTO {dataset}.t (b) VALUES (3)")
    client.query_and_wait(f"INSERT INTO {dataset}.t (b) SELECT 4")
    assert sorted(_rows(client, f"SELECT b, a FROM {dataset}.t")) == [(1, "x"), (2, None), (3, "x"), (4, "x")]
    with pytest.raises(exceptions.BadRequest, match="Unrecognized name"):
        client.create_table(bigquery.Table(f"p.{dataset}.u", [SchemaField("a", "STRING", default_value_expression="y")]))
    lines = bigquery.LoadJobConfig(schema=[SchemaField("b", "INTEGER")], source_format="NEWLINE_DELIMITED_JSON")
    with pytest.raises(exceptions.MethodNotImplemented, match="default values"):
        client.load_table_from_json([{"b": 5}], table, job_config=lines).result()


def test_snapshots(client: bigquery.Client, dataset: str) -> None:
    name = f"p.{dataset}.t"
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a")
    config = bigquery.CopyJobConfig(operation_type="SNAPSHOT")
    config.destination_expiration_time = "2100-01-01T00:00:00Z"
    client.copy_table(name, f"{name}_s", job_config=config).result()
    snapshot = client.get_table(f"{name}_s")
    assert (snapshot.table_type, snapshot.snapshot_definition.base_table_reference.table_id) == ("SNAPSHOT", "t")
    assert snapshot.expires is not None
    assert snapshot.expires.year == 2100
    client.query_and_wait(f"INSERT INTO {dataset}.t VALUES (2)")
    assert _rows(client, f"SELECT a FROM {dataset}.t_s") == [(1,)]
    with pytest.raises(exceptions.BadRequest, match="is a snapshot"):
        client.query_and_wait(f"INSERT INTO {dataset}.t_s VALUES (2)")
    back = bigquery.CopyJobConfig(operation_type="RESTORE", write_disposition="WRITE_TRUNCATE")
    client.copy_table(f"{name}_s", name, job_config=back).result()
    assert _rows(client, f"SELECT a FROM {dataset}.t") == [(1,)]


def _number(value: int) -> bytes:
    value, made = (value << 1) ^ (value >> 63), b""
    while value > 0x7F:
        made, value = made + bytes([value & 0x7F | 0x80]), value >> 7
    return made + bytes([value])


def _chunk(data: bytes) -> bytes:
    return _number(len(data)) + data


def _avro(schema: dict[str, Any], rows: list[bytes], codec: str = "null") -> bytes:
    header = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    pairs = b"".join(_chunk(key.encode()) + _chunk(value) for key, value in header.items())
    data = b"".join(rows)
    packed = zlib.compress(data)[2:-4] if codec == "deflate" else data
    return b"Obj\x01" + _number(len(header)) + pairs + b"\0" + b"s" * 16 + _number(len(rows)) + _chunk(packed) + b"s" * 16


_AVRO = {
    "type": "record", "name": "r", "fields": [
        {"name": "s", "type": "string"},
        {"name": "n", "type": ["null", "long"]},
        {"name": "l", "type": {"type": "array", "items": "int"}},
        {"name": "d", "type": {"type": "int", "logicalType": "date"}},
        {"name": "m", "type": {"type": "map", "values": "boolean"}},
        {"name": "e", "type": {"type": "enum", "name": "e", "symbols": ["A", "B"]}},
        {"name": "i", "type": {"type": "record", "name": "i", "fields": [{"name": "b", "type": "bytes"}]}},
    ],
}  # fmt: skip
_LIST = _number(2) + _number(1) + _number(-2) + b"\0"
_MAP = _number(1) + _chunk(b"k") + b"\x01" + b"\0"


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_avro(client: bigquery.Client, dataset: str, codec: str) -> None:
    rows = [
        _chunk(b"x") + _number(1) + _number(300) + _LIST + _number(1) + _MAP + _number(1) + _chunk(b"\xff"),
        _chunk(b"y") + _number(0) + b"\0" + _number(0) + b"\0" + _number(0) + _chunk(b""),
    ]
    config = bigquery.LoadJobConfig(source_format="AVRO", use_avro_logical_types=True)
    client.load_table_from_file(io.BytesIO(_avro(_AVRO, rows, codec)), f"p.{dataset}.t", job_config=config).result()
    found = _rows(client, f"SELECT s, n, l, CAST(d AS STRING), m, e, i.b FROM {dataset}.t ORDER BY s")
    assert found == [
        ("x", 300, [1, -2], "1970-01-02", [{"key": "k", "value": True}], "B", b"\xff"),
        ("y", None, [], "1970-01-01", [], "A", b""),
    ]
    modes = [(field.field_type, field.mode) for field in client.get_table(f"p.{dataset}.t").schema]
    assert modes[:3] == [("STRING", "REQUIRED"), ("INTEGER", "NULLABLE"), ("INTEGER", "REPEATED")]


def _of_one(kind: Any) -> dict[str, Any]:
    """Return the schema of a record with one field."""
    return {"type": "record", "name": "r", "fields": [{"name": "v", "type": kind}]}


_DECIMAL = _of_one({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9})
_DATE = _of_one({"type": "int", "logicalType": "date"})


@pytest.mark.parametrize("number", ["12345678901234567890123456789.123456789", "-0.000000001", "0"])
def test_a_decimal_of_avro_keeps_all_its_digits(client: bigquery.Client, dataset: str, number: str) -> None:
    unscaled = int(decimal.Decimal(number).scaleb(9, decimal.Context(prec=50)))
    rows = [_chunk(unscaled.to_bytes(16, "big", signed=True))]
    config = bigquery.LoadJobConfig(source_format="AVRO", use_avro_logical_types=True)
    client.load_table_from_file(io.BytesIO(_avro(_DECIMAL, rows)), f"p.{dataset}.t", job_config=config).result()
    assert _rows(client, f"SELECT v FROM {dataset}.t") == [(decimal.Decimal(number),)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 40,
        _avro(_AVRO, [b"\x02"]),
        _avro(_AVRO, [], "null")[:-4],
        _avro(_of_one("string"), [_chunk(b"\xff")]),
        _avro(_of_one({"type": "enum", "name": "e"}), [_number(0)]),
        _avro({"type": "record", "name": "r"}, []),
        _avro(_DATE, [_number(1 << 40)]),
    ],
)
def test_what_is_not_avro_is_refused(client: bigquery.Client, dataset: str, data: bytes) -> None:
    config = bigquery.LoadJobConfig(source_format="AVRO", use_avro_logical_types=True)
    with pytest.raises(exceptions.BadRequest, match="not an Avro file"):
        client.load_table_from_file(io.BytesIO(data), f"p.{dataset}.t", job_config=config).result()
