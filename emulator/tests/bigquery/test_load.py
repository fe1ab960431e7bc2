"""Load jobs, and ``load_json_lines``, which the Healthcare service writes with."""

from __future__ import annotations

import base64
import datetime
import io
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import requests
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import LoadJobConfig, SchemaField
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcp_dicom_emulator.bigquery.names import ANONYMOUS_DATASET
from gcp_dicom_emulator.rest.errors import ApiError
from tests.bigquery.conftest import Running

SCHEMA = [SchemaField("a", "INT64"), SchemaField("b", "STRING")]


def values(client: bigquery.Client, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.list_rows(table)]


@pytest.mark.parametrize("size", [None, 20])
def test_csv_by_both_kinds_of_upload(client: bigquery.Client, dataset: str, size: int | None) -> None:
    data = b'a,b\n1,x\n2,"y""z"\n'
    table = f"p.{dataset}.t"
    config = LoadJobConfig(source_format="CSV", skip_leading_rows=1, schema=SCHEMA)
    job = client.load_table_from_file(io.BytesIO(data), table, job_config=config, size=len(data) if size else None)
    assert job.result().output_rows == 2
    assert values(client, table) == [(1, "x"), (2, 'y"z')]


def test_a_chunk_may_come_twice(client: bigquery.Client, emulator: Running, dataset: str) -> None:
    destination = {"projectId": "p", "datasetId": dataset, "tableId": "t"}
    schema = {"fields": [{"name": "a", "type": "INTEGER"}]}
    job = {"configuration": {"load": {"destinationTable": destination, "schema": schema}}}
    url = f"{emulator.url}/upload/bigquery/v2/projects/p/jobs?uploadType=resumable"
    session = requests.post(url, json=job, timeout=60).headers["Location"]
    for data, content_range, status in (
        (b"1\n2\n", "bytes 0-3/*", 308),
        (b"", "bytes */*", 308),
        (b"2\n3\n", "bytes 2-5/6", 200),
    ):
        answer = requests.put(session, data=data, headers={"Content-Range": content_range}, timeout=60)
        assert answer.status_code == status
        assert answer.headers.get("Range") == ("bytes=0-3" if status == 308 else None)
    client.get_job(answer.json()["jobReference"]["jobId"]).result()
    assert [row[0] for row in values(client, f"p.{dataset}.t")] == [1, 2, 3]


@pytest.mark.parametrize("schema", [[SchemaField("a", "STRING"), SchemaField("b", "INT64")], None])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_a_line_break_in_quotes_has_to_be_allowed(
    client: bigquery.Client, dataset: str, schema: list[SchemaField] | None, line_break: str
) -> None:
    text = f'"x{line_break}y",1{line_break}'

    def load(*, allowed: bool) -> None:
        config = LoadJobConfig(source_format="CSV", autodetect=schema is None, allow_quoted_newlines=allowed)
        config.schema = schema or []
        client.load_table_from_file(io.BytesIO(text.encode()), f"p.{dataset}.t", job_config=config).result()

    with pytest.raises(exceptions.BadRequest, match="allowQuotedNewlines is not set"):
        load(allowed=False)
    load(allowed=True)
    assert values(client, f"p.{dataset}.t") == [(f"x{line_break}y", 1)]


def test_an_empty_text_is_none_where_a_null_marker_says_what_is_null(client: bigquery.Client, dataset: str) -> None:
    config = LoadJobConfig(source_format="CSV", null_marker="NA", schema=[SchemaField("a", "STRING"), SchemaField("b", "INT64")])
    client.load_table_from_file(io.BytesIO(b"NA,NA\n,1\n"), f"p.{dataset}.t", job_config=config).result()
    assert values(client, f"p.{dataset}.t") == [(None, None), ("", 1)]
    with pytest.raises(exceptions.BadRequest, match="Bad int64 value"):
        client.load_table_from_file(io.BytesIO(b"x,\n"), f"p.{dataset}.t", job_config=config).result()


def test_csv_autodetected(client: bigquery.Client, dataset: str) -> None:
    data = b"a,b,c\n1,x,2020-01-02\n2,,\n"
    client.load_table_from_file(
        io.BytesIO(data), f"p.{dataset}.t", job_config=LoadJobConfig(source_format="CSV", autodetect=True)
    ).result()
    assert values(client, f"p.{dataset}.t") == [(1, "x", datetime.date(2020, 1, 2)), (2, None, None)]


@pytest.mark.parametrize("zone", ["", "Z", " UTC", "+00:00"])
@pytest.mark.parametrize("names", ["id,at\n", ""])
def test_a_date_with_a_time_is_detected_as_a_timestamp(client: bigquery.Client, dataset: str, names: str, zone: str) -> None:
    data = f"{names}1,2020-01-02 03:04:05{zone}\n".encode()
    config = LoadJobConfig(source_format="CSV", autodetect=True)
    client.load_table_from_file(io.BytesIO(data), f"p.{dataset}.t", job_config=config).result()
    assert [field.field_type for field in client.get_table(f"p.{dataset}.t").schema] == ["INTEGER", "TIMESTAMP"]
    assert values(client, f"p.{dataset}.t") == [(1, datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC))]


@pytest.mark.parametrize(
    ("text", "skip", "names", "first"),
    [
        ("a,b\n1,x\n", None, ["a", "b"], (1, "x")),
        # Nothing tells a line of names from others where all are texts.
        ("a,b\nx,y\n", None, ["string_field_0", "string_field_1"], ("a", "b")),
        ("a,1\nb,2\n", None, ["string_field_0", "int64_field_1"], ("a", 1)),
        ("1.5,true,2020-01-02\n", None, ["double_field_0", "bool_field_1", "date_field_2"], None),
        ("a,b\n1,x\n", 0, ["string_field_0", "string_field_1"], ("a", "b")),
        ("a,b\n1,x\n", 1, ["a", "b"], (1, "x")),
        ("a,b\nx,y\n", 1, ["string_field_0", "string_field_1"], ("x", "y")),
        ("!\na,b\n1,x\n", 2, ["a", "b"], (1, "x")),
    ],
)  # fmt: skip
def test_the_names_of_columns_are_detected(
    client: bigquery.Client, dataset: str, text: str, skip: int | None, names: list[str], first: tuple[object, ...] | None
) -> None:
    config = LoadJobConfig(source_format="CSV", autodetect=True)
    if skip is not None:
        config.skip_leading_rows = skip
    client.load_table_from_file(io.BytesIO(text.encode()), f"p.{dataset}.t", job_config=config).result()
    assert [field.name for field in client.get_table(f"p.{dataset}.t").schema] == names
    assert first is None or values(client, f"p.{dataset}.t")[0] == first


def test_json_from_the_client(client: bigquery.Client, dataset: str) -> None:
    rows = [{"a": 1, "b": [{"c": "x"}]}, {"a": 2, "b": []}]
    assert client.load_table_from_json(rows, f"p.{dataset}.t").result().output_rows == 2
    assert values(client, f"p.{dataset}.t") == [(1, [{"c": "x"}]), (2, [])]


@pytest.mark.parametrize("ignore", [False, True])
def test_names_in_other_letters_are_the_columns(client: bigquery.Client, dataset: str, ignore: bool) -> None:
    nested = SchemaField("R", "RECORD", fields=[SchemaField("Xy", "NUMERIC"), SchemaField("z", "STRING")])
    schema = [SchemaField("StudyInstanceUID", "STRING"), nested, SchemaField("j", "JSON")]
    rows = [
        {"studyinstanceuid": "1.2", "r": {"XY": "0.123456789", "Z": None}, "J": {"Xy": 1.5}},
        {"StudyInstanceUID": "1.3", "R": {"Xy": 1234567.5}},
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    config = LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=schema, ignore_unknown_values=ignore)
    client.load_table_from_file(io.BytesIO(text.encode()), f"p.{dataset}.t", job_config=config).result()
    assert client.insert_rows_json(f"p.{dataset}.t", [{"STUDYINSTANCEUID": "1.4", "r": {"xY": "2"}}]) == []
    assert sorted(values(client, f"p.{dataset}.t")) == [
        ("1.2", {"Xy": Decimal("0.123456789"), "z": None}, {"Xy": 1.5}),
        ("1.3", {"Xy": Decimal("1234567.5"), "z": None}, None),
        ("1.4", {"Xy": Decimal("2"), "z": None}, None),
    ]
    (refused,) = client.insert_rows_json(f"p.{dataset}.t", [{"studyinstanceuid": "1", "StudyInstanceUID": "2"}])
    assert "Duplicate field: StudyInstanceUID" in refused["errors"][0]["message"]


def test_uris(client: bigquery.Client, emulator: Running, dataset: str, bucket: str) -> None:
    emulator.storage.objects.put_bytes(bucket, "in/1.json", b'{"a": 1}\n')
    emulator.storage.objects.put_bytes(bucket, "in/2.json", b'{"a": "2", "b": "x"}')
    emulator.storage.objects.put_bytes(bucket, "other", b"no JSON")
    config = LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=SCHEMA)
    job = client.load_table_from_uri(f"gs://{bucket}/in/*.json", f"p.{dataset}.t", job_config=config)
    job.result()
    assert (job.output_rows, job.input_files) == (2, 2)
    assert values(client, f"p.{dataset}.t") == [(1, None), (2, "x")]
    with pytest.raises(exceptions.NotFound, match=rf"Not found: URI gs://{bucket}/nope\*"):
        client.load_table_from_uri(f"gs://{bucket}/nope*", f"p.{dataset}.t", job_config=config).result()


def test_parquet(client: bigquery.Client, dataset: str) -> None:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2], "b": [["x"], []]}), buffer)
    buffer.seek(0)
    client.load_table_from_file(buffer, f"p.{dataset}.t", job_config=LoadJobConfig(source_format="PARQUET")).result()
    assert values(client, f"p.{dataset}.t") == [(1, ["x"]), (2, [])]


def test_dispositions(client: bigquery.Client, dataset: str) -> None:
    def load(data: bytes, disposition: str | None) -> None:
        config = LoadJobConfig(source_format="CSV", schema=SCHEMA, write_disposition=disposition)
        client.load_table_from_file(io.BytesIO(data), f"p.{dataset}.t", job_config=config).result()

    load(b"1,x\n", None)
    load(b"2,x\n", None)
    assert [row[0] for row in values(client, f"p.{dataset}.t")] == [1, 2]
    with pytest.raises(exceptions.Conflict):
        load(b"3,x\n", "WRITE_EMPTY")
    with pytest.raises(exceptions.BadRequest, match="Error while reading data"):
        load(b"4,x\nbad,x\n", "WRITE_TRUNCATE")
    assert [row[0] for row in values(client, f"p.{dataset}.t")] == [1, 2]
    load(b"5,x\n", "WRITE_TRUNCATE")
    assert [row[0] for row in values(client, f"p.{dataset}.t")] == [5]


def test_what_is_not_done_says_so(client: bigquery.Client, dataset: str) -> None:
    for config in (LoadJobConfig(source_format="ORC"), LoadJobConfig(schema=SCHEMA, max_bad_records=1)):
        with pytest.raises(exceptions.MethodNotImplemented):
            client.load_table_from_file(io.BytesIO(b"1,x\n"), f"p.{dataset}.t", job_config=config).result()


def test_what_a_column_cannot_hold_is_refused(client: bigquery.Client, dataset: str) -> None:
    csv = LoadJobConfig(source_format="CSV", schema=SCHEMA[:1])
    json_lines = LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=SCHEMA[:1])
    for config, data in ((csv, b"1.5\n"), (csv, b"1e3\n"), (json_lines, b'{"a": 1.5}\n'), (json_lines, b'{"a": "1.5"}\n')):
        with pytest.raises(exceptions.BadRequest, match="Error while reading data"):
            client.load_table_from_file(io.BytesIO(data), f"p.{dataset}.t", job_config=config).result()
    client.load_table_from_file(io.BytesIO(b'{"a": 1.0}\n{"a": "-2"}\n'), f"p.{dataset}.t", job_config=json_lines).result()
    assert values(client, f"p.{dataset}.t") == [(1,), (-2,)]


def test_quoted_nothing_is_a_text(client: bigquery.Client, dataset: str) -> None:
    config = LoadJobConfig(source_format="CSV", schema=SCHEMA)
    client.load_table_from_file(io.BytesIO(b'1,""\n2,\n"",x\n'), f"p.{dataset}.t", job_config=config).result()
    assert values(client, f"p.{dataset}.t") == [(1, ""), (2, None), (None, "x")]


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("write_disposition", "WRITE_NONSENSE", exceptions.BadRequest),
        ("write_disposition", "WRITE_TRUNCATE_DATA", exceptions.MethodNotImplemented),
        ("create_disposition", "CREATE_NONSENSE", exceptions.BadRequest),
    ],
)
def test_other_dispositions_are_refused(
    client: bigquery.Client, dataset: str, option: str, value: str, error: type[Exception]
) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a")
    config = LoadJobConfig(source_format="CSV", schema=SCHEMA[:1], **{option: value})
    with pytest.raises(error, match=value):
        client.load_table_from_file(io.BytesIO(b"2\n"), f"p.{dataset}.t", job_config=config).result()
    query_config = bigquery.QueryJobConfig(destination=f"p.{dataset}.t", **{option: value})
    with pytest.raises(error, match=value):
        client.query("SELECT 2 AS a", job_config=query_config, job_retry=None).result()
    assert values(client, f"p.{dataset}.t") == [(1,)]


# load_json_lines

FIELDS: list[dict[str, Any]] = [
    {"name": "uid", "type": "STRING", "mode": "REQUIRED"},
    {"name": "n", "type": "INTEGER"},
    {"name": "seq", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "x", "type": "STRING", "mode": "REPEATED"}]},
]


def load(running: Running, dataset: str, rows: list[Any], disposition: str, fields: list[dict[str, Any]] = FIELDS) -> int:
    path = running.bigquery.catalog.engine._path.parent / f"rows-{uuid.uuid4().hex}"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        return running.bigquery.load_json_lines("p", dataset, "t", fields, path, disposition)
    finally:
        path.unlink()


def test_load_json_lines(client: bigquery.Client, emulator: Running, dataset: str) -> None:
    assert load(emulator, dataset, [{"uid": "1", "seq": [{"x": ["a"]}, {}]}], "WRITE_EMPTY") == 1
    with pytest.raises(ApiError, match="Already Exists: Table") as caught:
        load(emulator, dataset, [{"uid": "2"}], "WRITE_EMPTY")
    assert caught.value.code == 409
    wider = [
        *FIELDS[:2],
        {**FIELDS[2], "fields": [*FIELDS[2]["fields"], {"name": "y", "type": "DATE"}]},
        {"name": "z", "type": "TIME"},
    ]
    assert load(emulator, dataset, [{"uid": "2", "seq": [{"y": "2020-01-02"}], "z": "01:02:03"}], "WRITE_APPEND", wider) == 1
    assert values(client, f"p.{dataset}.t") == [
        ("1", None, [{"x": ["a"], "y": None}, {"x": [], "y": None}], None),
        ("2", None, [{"x": [], "y": datetime.date(2020, 1, 2)}], datetime.time(1, 2, 3)),
    ]
    assert load(emulator, dataset, [{"uid": "3"}], "WRITE_APPEND") == 1
    assert load(emulator, dataset, [{"uid": "4"}], "WRITE_TRUNCATE") == 1
    assert values(client, f"p.{dataset}.t") == [("4", None, [])]
    assert load(emulator, dataset, [], "WRITE_TRUNCATE") == 0
    assert client.get_table(f"p.{dataset}.t").num_rows == 0


@pytest.mark.parametrize(
    "row",
    [
        {"uid": None},
        {"n": 1},
        {"uid": "1", "n": "x"},
        {"uid": "1", "more": 1},
        {"uid": "1", "seq": {"x": []}},
        {"uid": "1", "seq": [{"x": "no array"}]},
        {"uid": "1", "seq": [{"x": [], "more": 1}]},
        {"uid": "1", "seq": [None]},
        {"uid": "1", "seq": [{}, 1]},
        {"uid": "1", "seq": [[], {}]},
        {"uid": "1", "seq": [{"x": [None]}]},
        {"uid": {"a": 1}},
        ["no object"],
        1,
    ],
)
def test_bad_lines_leave_nothing(client: bigquery.Client, emulator: Running, dataset: str, row: Any) -> None:
    load(emulator, dataset, [{"uid": "1"}], "WRITE_EMPTY")
    for disposition in ("WRITE_APPEND", "WRITE_TRUNCATE"):
        with pytest.raises(ApiError, match="Error while reading data") as caught:
            load(emulator, dataset, [{"uid": "2"}, row], disposition)
        assert caught.value.code == 400
        assert values(client, f"p.{dataset}.t") == [("1", None, [])]


def test_large_files_are_loaded_part_by_part(
    client: bigquery.Client, emulator: Running, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcp_dicom_emulator.bigquery.jobs.load._PART", 100)
    monkeypatch.setattr("gcp_dicom_emulator.bigquery.jobs.load._SHORT", 10)
    rows = [{"uid": "x" * size, "n": n} for n, size in enumerate([1, 5000, 20, 20, 20, 300_000, *[9] * 50])]
    assert load(emulator, dataset, rows, "WRITE_EMPTY") == len(rows)
    query = f"SELECT n, LENGTH(uid) FROM p.{dataset}.t ORDER BY n"
    assert [tuple(row) for row in client.query(query).result()] == [(row["n"], len(row["uid"])) for row in rows]
    with pytest.raises(ApiError, match="Error while reading data"):
        load(emulator, dataset, [*rows, {"uid": "1", "n": "x"}], "WRITE_APPEND")
    assert client.get_table(f"p.{dataset}.t").num_rows == len(rows)


def test_a_type_must_stay(emulator: Running, dataset: str) -> None:
    load(emulator, dataset, [{"uid": "1"}], "WRITE_EMPTY")
    with pytest.raises(ApiError, match=r"Field n has changed type from INTEGER to STRING"):
        load(emulator, dataset, [{"uid": "1"}], "WRITE_APPEND", [FIELDS[0], {"name": "n", "type": "STRING"}])
    with pytest.raises(ApiError, match="Not found: Dataset p:nowhere"):
        load(emulator, "nowhere", [{"uid": "1"}], "WRITE_APPEND")


# Any rows of any schema come back as they went in.

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
SCALARS: dict[str, st.SearchStrategy[tuple[Any, Any]]] = {
    "STRING": TEXT.map(lambda v: (v, v)),
    "BYTES": st.binary(max_size=8).map(lambda v: (base64.b64encode(v).decode(), v)),
    "INTEGER": st.integers(-(2**63), 2**63 - 1).flatmap(lambda v: st.sampled_from([(v, v), (str(v), v)])),
    "FLOAT": st.floats(allow_nan=False, allow_infinity=False).map(lambda v: (v, v)),
    "NUMERIC": st.decimals(-(10**20), 10**20, places=9).map(lambda v: (str(v), v)),
    "BOOLEAN": st.booleans().map(lambda v: (v, v)),
    "DATE": st.dates().map(lambda v: (v.isoformat(), v)),
    "TIME": st.times().map(lambda v: (v.isoformat(), v)),
    "DATETIME": st.datetimes().map(lambda v: (v.isoformat(), v)),
    "TIMESTAMP": st.datetimes(timezones=st.just(datetime.UTC)).map(lambda v: (v.isoformat(), v)),
}


@st.composite
def fields(draw: st.DrawFn, depth: int = 3) -> list[dict[str, Any]]:
    """A schema."""
    made = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([*SCALARS, *(["RECORD"] * 4 if depth else [])]))
        field: dict[str, Any] = {"name": f"c{number}", "type": kind, "mode": draw(st.sampled_from(["NULLABLE", "REPEATED"]))}
        if kind == "RECORD":
            field["fields"] = draw(fields(depth - 1))
        made.append(field)
    return made


def draw_value(draw: st.DrawFn, field: dict[str, Any]) -> tuple[Any, Any]:
    """A value as JSON and as the client gives it back."""
    if field["mode"] == "REPEATED":
        items = [draw_present(draw, field) for _ in range(draw(st.integers(0, 3)))]
        return [item[0] for item in items], [item[1] for item in items]
    return (None, None) if draw(st.booleans()) else draw_present(draw, field)


def draw_present(draw: st.DrawFn, field: dict[str, Any]) -> tuple[Any, Any]:
    if field["type"] != "RECORD":
        return draw(SCALARS[field["type"]])
    row = {child["name"]: draw_value(draw, child) for child in field["fields"]}
    return {name: value[0] for name, value in row.items()}, {name: value[1] for name, value in row.items()}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    """A schema, rows as JSON, rows as the client gives them back."""
    schema = draw(fields())
    rows = [draw_present(draw, {"type": "RECORD", "fields": schema}) for _ in range(draw(st.integers(0, 3)))]
    return schema, [row[0] for row in rows], [row[1] for row in rows]


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(table=tables())
def test_rows_come_back(
    client: bigquery.Client, emulator: Running, table: tuple[list[dict[str, Any]], list[Any], list[Any]]
) -> None:
    schema, rows, expected = table
    dataset = f"h{uuid.uuid4().hex}"
    client.create_dataset(dataset)
    load(emulator, dataset, rows, "WRITE_EMPTY", schema)
    assert [dict(row) for row in client.query_and_wait(f"SELECT * FROM {dataset}.t")] == expected
    client.query_and_wait(f"CREATE TABLE {dataset}.u AS SELECT * FROM {dataset}.t")
    assert [dict(row) for row in client.list_rows(f"p.{dataset}.u")] == expected
    client.delete_dataset(dataset, delete_contents=True)


def test_numeric_text_is_exact(client: bigquery.Client) -> None:
    (row,) = client.query_and_wait("SELECT NUMERIC '0.000000001', NUMERIC '-12345678901234567890.5'")
    assert tuple(row) == (Decimal("0.000000001"), Decimal("-12345678901234567890.5"))


def test_the_file_stays(emulator: Running, dataset: str, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text('{"uid": "1"}\n')
    emulator.bigquery.load_json_lines("p", dataset, "t", FIELDS, path, "WRITE_TRUNCATE")
    assert path.read_text() == '{"uid": "1"}\n'


@pytest.mark.parametrize("options", [{"enableListInference": True}, {"enumAsString": True, "enableListInference": True}])
def test_f3_parquet_options_that_clients_send(client: bigquery.Client, dataset: str, options: dict[str, bool]) -> None:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2], "b": [["x", "y"], []]}), file)
    config = LoadJobConfig.from_api_repr({"load": {"sourceFormat": "PARQUET", "parquetOptions": options}})
    client.load_table_from_file(file, f"p.{dataset}.t", job_config=config, rewind=True).result()
    assert values(client, f"p.{dataset}.t") == [(1, ["x", "y"]), (2, [])]


def test_f3_another_parquet_option_is_refused(client: bigquery.Client, dataset: str) -> None:
    config = LoadJobConfig.from_api_repr(
        {"load": {"sourceFormat": "PARQUET", "parquetOptions": {"mapTargetType": "ARRAY_OF_STRUCT"}}}
    )
    with pytest.raises(exceptions.MethodNotImplemented, match="mapTargetType"):
        client.load_table_from_file(io.BytesIO(), f"p.{dataset}.t", job_config=config).result()


def test_f5_clustering_and_partitioning_are_kept_on_the_table(client: bigquery.Client, dataset: str) -> None:
    schema = [SchemaField("a", "STRING"), SchemaField("at", "DATE")]
    config = LoadJobConfig(schema=schema, clustering_fields=["a"], time_partitioning=bigquery.TimePartitioning(field="at"))
    client.load_table_from_file(io.BytesIO(b"x,2020-01-02\n"), f"p.{dataset}.t", job_config=config).result()
    table = client.get_table(f"p.{dataset}.t")
    assert (table.clustering_fields, table.time_partitioning.field) == (["a"], "at")
    client.load_table_from_file(io.BytesIO(b"y,2020-01-03\n"), f"p.{dataset}.t", job_config=config).result()
    assert client.get_table(table).num_rows == 2
    config.clustering_fields = ["at"]
    with pytest.raises(exceptions.BadRequest, match="another clustering"):
        client.load_table_from_file(io.BytesIO(b"z,2020-01-04\n"), f"p.{dataset}.t", job_config=config).result()


def _external(client: bigquery.Client, name: str, source_format: str, uris: list[str], **options: object) -> bigquery.Table:
    """Make an external table; options are those of its definition, ``schema`` that of the table."""
    table = bigquery.Table(name, schema=options.pop("schema", None))
    definition = {"sourceFormat": source_format, "sourceUris": uris, **options}
    table.external_data_configuration = bigquery.ExternalConfig.from_api_repr(definition)
    return client.create_table(table)


def test_an_external_table_is_read_where_it_is(client: bigquery.Client, emulator: Running, dataset: str, bucket: str) -> None:
    put = emulator.storage.objects.put_bytes
    put(bucket, "in/1.csv", b"a;b\n1;x\n")
    schema = [bigquery.SchemaField("a", "INT64", "REQUIRED"), bigquery.SchemaField("b", "STRING")]
    options = {"skipLeadingRows": "1", "fieldDelimiter": ";"}
    table = _external(client, f"p.{dataset}.t", "CSV", [f"gs://{bucket}/in/*.csv"], csvOptions=options, schema=schema)
    assert (table.table_type, [field.name for field in table.schema]) == ("EXTERNAL", ["a", "b"])
    query = f"SELECT a, b FROM {dataset}.t ORDER BY a"
    assert [tuple(row) for row in client.query_and_wait(query)] == [(1, "x")]
    put(bucket, "in/2.csv", b"a;b\n2;y\n")
    client.query_and_wait(f"CREATE VIEW {dataset}.v AS SELECT COUNT(*) AS n FROM {dataset}.t WHERE b > 'w'")
    assert [tuple(row) for row in client.query_and_wait(query)] == [(1, "x"), (2, "y")]
    assert [tuple(row) for row in client.query_and_wait(f"SELECT n FROM {dataset}.v")] == [(2,)]
    client.query_and_wait(f"CREATE TABLE {dataset}.copy AS SELECT t.* FROM {dataset}.t JOIN {dataset}.t AS u USING (a)")
    client.query_and_wait(f"INSERT {dataset}.copy SELECT * FROM {dataset}.t")
    assert client.get_table(f"{dataset}.copy").num_rows == 4
    with pytest.raises(exceptions.MethodNotImplemented, match="through a prefix"):
        client.query_and_wait(f"SELECT * FROM `{dataset}.t*`")
    emulator.storage.objects.delete(bucket, "in/1.csv")
    emulator.storage.objects.delete(bucket, "in/2.csv")
    with pytest.raises(exceptions.NotFound, match="Not found: URI"):
        client.query_and_wait(query)
    with pytest.raises(exceptions.BadRequest, match="it is an external table"):
        client.query_and_wait(f"INSERT INTO {dataset}.t VALUES (3, 'z')")
    with pytest.raises(exceptions.BadRequest, match="EXTERNAL TABLE, not a TABLE"):
        client.query_and_wait(f"DROP TABLE {dataset}.t")
    client.query_and_wait(f"DROP EXTERNAL TABLE {dataset}.t")
    # What was loaded for the queries is gone.
    assert not [
        one for one in emulator.bigquery.catalog.list_tables("p", ANONYMOUS_DATASET) if one.name.table.startswith("external")
    ]


def test_external_tables_without_a_schema(client: bigquery.Client, emulator: Running, dataset: str, bucket: str) -> None:
    put = emulator.storage.objects.put_bytes
    put(bucket, "a.json", b'{"a": 1, "b": ["x"]}\n')
    json_table = _external(client, f"p.{dataset}.j", "NEWLINE_DELIMITED_JSON", [f"gs://{bucket}/a.json"], autodetect=True)
    assert [(field.name, field.mode) for field in json_table.schema] == [("a", "NULLABLE"), ("b", "REPEATED")]
    client.query_and_wait(
        f"EXPORT DATA OPTIONS(uri='gs://{bucket}/p/*.parquet', format='PARQUET') AS SELECT a, b FROM {dataset}.j"
    )
    _external(client, f"p.{dataset}.q", "PARQUET", [f"gs://{bucket}/p/*"])
    assert [tuple(row) for row in client.query_and_wait(f"SELECT a FROM {dataset}.q")] == [(1,)]


@pytest.mark.parametrize(
    ("source_format", "options", "code", "words"),
    [
        ("CSV", {}, 400, "No schema specified"),
        ("GOOGLE_SHEETS", {"autodetect": True}, 501, "GOOGLE_SHEETS"),
        ("CSV", {"autodetect": True, "compression": "GZIP"}, 501, "compression"),
        ("CSV", {"autodetect": True, "csvOptions": {"sourceColumnMatch": "NAME"}}, 501, "csvOptions.sourceColumnMatch"),
        ("PARQUET", {"hivePartitioningOptions": {"mode": "AUTO"}}, 501, "hivePartitioningOptions"),
        ("PARQUET", {}, 404, "Not found: URI"),
    ],
)
def test_refused_external_tables(
    client: bigquery.Client, dataset: str, bucket: str, source_format: str, options: dict[str, object], code: int, words: str
) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=words) as caught:
        _external(client, f"p.{dataset}.t", source_format, [f"gs://{bucket}/none"], **options)
    assert caught.value.code == code


def _loaded(client: bigquery.Client, table: str, data: bytes, config: LoadJobConfig) -> list[tuple[Any, ...]]:
    client.load_table_from_file(io.BytesIO(data), table, job_config=config).result(timeout=20)
    return [tuple(row) for row in client.query_and_wait(f"SELECT * FROM `{table}`")]


@pytest.mark.parametrize(
    ("data", "more", "rows"),
    [
        ("1,a,x\n2,b\n3,c,y,z\n", {}, [(1, "a"), (2, "b"), (3, "c")]),
        ("n,s,u\r\n1,a,x\r\n2,b,\r\n", {"skip_leading_rows": 1}, [(1, "a"), (2, "b")]),
        ('1,"a,""b","x\ny"\n2,b,', {"allow_quoted_newlines": True}, [(1, 'a,"b'), (2, "b")]),
        ("1\n2;b;c\n", {"allow_jagged_rows": True, "field_delimiter": ";"}, [(1, None), (2, "b")]),
    ],
)
def test_unknown_values_of_csv(
    client: bigquery.Client, dataset: str, data: str, more: dict[str, Any], rows: list[tuple[Any, ...]]
) -> None:
    schema = [SchemaField("n", "INTEGER"), SchemaField("s", "STRING")]
    config = LoadJobConfig(source_format="CSV", schema=schema, ignore_unknown_values=True, **more)
    assert _loaded(client, f"p.{dataset}.t", data.encode(), config) == rows


def test_unknown_values_keep_short_rows_refused(client: bigquery.Client, dataset: str) -> None:
    schema = [SchemaField("n", "INTEGER"), SchemaField("s", "STRING")]
    config = LoadJobConfig(source_format="CSV", schema=schema, ignore_unknown_values=True)
    with pytest.raises(exceptions.BadRequest):
        _loaded(client, f"p.{dataset}.t", b"1\n2,b,c\n", config)


def test_digits_of_numerics_in_json(client: bigquery.Client, dataset: str) -> None:
    schema = [
        SchemaField("n", "NUMERIC"),
        SchemaField("b", "BIGNUMERIC", mode="REPEATED"),
        SchemaField("r", "RECORD", fields=[SchemaField("x", "NUMERIC"), SchemaField("f", "FLOAT")]),
    ]
    row = '{"n": 1234567890123456789012345678.123456789, "b": [1.234567890123456789e1, 2], "r": {"x": 9999999999999999.99, "f": 0.1}}'
    config = LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=schema)
    [(whole, several, record)] = _loaded(client, f"p.{dataset}.t", row.encode(), config)
    assert str(whole) == "1234567890123456789012345678.123456789"
    assert [str(one) for one in several] == ["12.34567890123456789", "2"]
    assert (str(record["x"]), record["f"]) == ("9999999999999999.99", 0.1)


def test_digits_of_numerics_in_insert_all(client: bigquery.Client, emulator: Running, dataset: str) -> None:
    client.create_table(bigquery.Table(f"p.{dataset}.t", schema=[SchemaField("n", "NUMERIC")]))
    url = f"{emulator.url}/bigquery/v2/projects/p/datasets/{dataset}/tables/t/insertAll"
    body = b'{"rows": [{"json": {"n": 12345678901234567890.123456789}}]}'
    requests.post(url, body, headers={"Content-Type": "application/json"}, timeout=10).raise_for_status()
    assert [str(row["n"]) for row in client.query_and_wait(f"SELECT n FROM {dataset}.t")] == ["12345678901234567890.123456789"]


def test_types_of_texts_in_json_detected(client: bigquery.Client, dataset: str) -> None:
    row = {
        "d": "2020-01-02", "t": "2020-01-02 03:04:05", "z": "2020-01-02T03:04:05Z", "n": "12", "f": "1.5", "b": "true",
        "c": "03:04:05", "s": "1.2.840.10008", "mixed": "1", "a": ["2020-01-02"], "r": {"y": "x", "i": "7"},
    }  # fmt: skip
    data = "\n".join(json.dumps(one) for one in (row, {**row, "mixed": "x"}))
    config = LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", autodetect=True)
    client.load_table_from_file(io.BytesIO(data.encode()), f"p.{dataset}.t", job_config=config).result(timeout=20)
    found = {field.name: field.field_type for field in client.get_table(f"p.{dataset}.t").schema}
    assert found == {
        "d": "DATE", "t": "TIMESTAMP", "z": "TIMESTAMP", "n": "INTEGER", "f": "FLOAT", "b": "BOOLEAN", "c": "TIME", "s": "STRING",
        "mixed": "STRING", "a": "DATE", "r": "RECORD",
    }  # fmt: skip


@pytest.mark.parametrize("data", ['{"x": "1234567890123456789"}', '{"x": {"a": 1}}\n{"x": 1}'])
def test_types_in_json_that_are_not_detected(client: bigquery.Client, dataset: str, data: str) -> None:
    config = LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", autodetect=True)
    with pytest.raises(exceptions.GoogleAPICallError, match="does not detect the type of x"):
        _loaded(client, f"p.{dataset}.t", data.encode(), config)


@pytest.mark.parametrize(("form", "row"), [("CSV", "{}\n"), ("NEWLINE_DELIMITED_JSON", '{{"f": "{}"}}\n')])
def test_special_floats_are_texts(client: bigquery.Client, dataset: str, form: str, row: str) -> None:
    texts = ["+inf", "inf", "-Infinity", "NaN", "+1.5", "-2e3"]
    config = LoadJobConfig(source_format=form, schema=[SchemaField("f", "FLOAT64")])
    data = "".join(row.format(text) for text in texts).encode()
    client.load_table_from_file(io.BytesIO(data), f"p.{dataset}.t", job_config=config).result()
    query = f"SELECT STRING_AGG(CAST(f AS STRING) ORDER BY f) FROM {dataset}.t"
    assert [row[0] for row in client.query_and_wait(query)] == ["nan,-inf,-2000,1.5,inf,inf"]


@pytest.mark.parametrize(("form", "data"), [("CSV", "1e400\n"), ("NEWLINE_DELIMITED_JSON", '{"f": 1e400}\n')])
def test_floats_that_overflow_are_refused(client: bigquery.Client, dataset: str, form: str, data: str) -> None:
    config = LoadJobConfig(source_format=form, schema=[SchemaField("f", "FLOAT64")])
    with pytest.raises(exceptions.BadRequest, match="Bad double value"):
        client.load_table_from_file(io.BytesIO(data.encode()), f"p.{dataset}.t", job_config=config).result(retry=None)


def test_rows_of_json_without_any_value(client: bigquery.Client, dataset: str) -> None:
    config = LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=[SchemaField("j", "JSON"), SchemaField("a", "INT64")])
    data = b'{"j": {"b": [1, {"c": null}]}}\n{"j": "x", "a": 1}\n{}\n'
    client.load_table_from_file(io.BytesIO(data), f"p.{dataset}.t", job_config=config).result()
    assert sorted(map(str, values(client, f"p.{dataset}.t"))) == ["('x', 1)", "(None, None)", "({'b': [1, {'c': None}]}, None)"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("1,2\n1,2,3\n", "Too many values in line 2: 3 instead of 2"),
        ("1,2\n1\n", "Too few values in line 2: 1 instead of 2"),
        ('1,"2\n', "Missing close quote character in line 1"),
    ],
)
def test_rows_of_csv_that_do_not_fit(client: bigquery.Client, dataset: str, data: str, message: str) -> None:
    config = LoadJobConfig(source_format="CSV", schema=SCHEMA)
    with pytest.raises(exceptions.BadRequest, match=f"Error while reading data, error message: {message}"):
        client.load_table_from_file(io.BytesIO(data.encode()), f"p.{dataset}.t", job_config=config).result(retry=None)


def test_quoted_nothing_is_no_bytes(client: bigquery.Client, dataset: str) -> None:
    config = LoadJobConfig(source_format="CSV", schema=[SchemaField("a", "INT64"), SchemaField("b", "BYTES")])
    client.load_table_from_file(io.BytesIO(b'1,""\n2,\n'), f"p.{dataset}.t", job_config=config).result()
    assert values(client, f"p.{dataset}.t") == [(1, b""), (2, None)]
