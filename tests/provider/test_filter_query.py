"""What the lines of a filter file are, computed by the SQL and by a straightforward program."""

from __future__ import annotations

import itertools
import json
import time
import uuid

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_dicom.filter_paths import FilterPath
from airflow_dicom.filter_sql import UID_COLUMNS, FilterQuery, query_of_table

# SQL knows nothing of Airflow
pytestmark = [pytest.mark.only_on_newest_airflow, pytest.mark.slow]

# Few UIDs, so that whole series and studies, and lines that name the same, are common.
STUDIES = ("1", "1.2")
SERIES = ("3", "3.4")
INSTANCES = ("5", "5.6", "5.7")
ALL = tuple(itertools.product(STUDIES, SERIES, INSTANCES))

paths = st.one_of(
    st.sampled_from(STUDIES).map(lambda study: (study,)),
    st.tuples(st.sampled_from(STUDIES), st.sampled_from(SERIES)),
    st.sampled_from(ALL),
).map(lambda uids: str(FilterPath(*uids)))


@pytest.fixture(scope="module")
def client(emulator) -> bigquery.Client:
    client = bigquery.Client("demo", AnonymousCredentials(), client_options={"api_endpoint": emulator.url})
    client.create_dataset("filters")
    emulator.storage.objects.create_bucket("filters")
    return client


def load(client: bigquery.Client, rows: list[dict[str, object]], table: str, config: bigquery.LoadJobConfig) -> None:
    job = client.load_table_from_json(rows, table, job_config=config)
    while not job.done():  # result() asks again only after a second
        time.sleep(0.02)
    job.result()


def instances_table(client: bigquery.Client, name: str, instances: list[tuple[str, ...]]) -> str:
    schema = [bigquery.SchemaField(column, "STRING") for column in UID_COLUMNS]
    rows = [dict(zip(UID_COLUMNS, uids, strict=True)) for uids in instances]
    config = bigquery.LoadJobConfig(schema=schema, write_disposition="WRITE_TRUNCATE")
    load(client, rows, f"demo.filters.{name}", config)
    return f"demo.filters.{name}"


def lines_of(client: bigquery.Client, emulator, query: FilterQuery) -> list[str]:
    prefix = uuid.uuid4().hex
    client.query_and_wait(query.export_statement(f"gs://filters/{prefix}*"))
    objects = emulator.storage.objects
    texts = [found.path.read_text() for found in objects.list("filters", prefix=prefix)]
    return [line for text in texts for line in text.splitlines()]


def query_of(lines: list[str], **options) -> FilterQuery:
    return FilterQuery(f"SELECT path FROM UNNEST(CAST({json.dumps(lines)} AS ARRAY<STRING>)) AS path", ["path"], **options)


def meant(lines: list[str], store: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return the instances of a store that the API exports for these lines."""
    names = {(parsed.study, parsed.series, parsed.instance) for parsed in map(FilterPath.parse, lines)}
    return {uids for uids in store if {(uids[0], None, None), (uids[0], uids[1], None), uids} & names}


once = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@once
@given(lines=st.lists(paths, max_size=12))
def test_each_line_once(client, emulator, lines):
    assert sorted(lines_of(client, emulator, query_of(lines))) == sorted(set(lines))


@pytest.mark.slow
@once
@given(lines=st.lists(paths, max_size=12), store=st.sets(st.sampled_from(ALL)))
def test_collapsing_changes_nothing_but_the_number_of_lines(client, emulator, lines, store):
    table = instances_table(client, "store", sorted(store))
    query = query_of(lines, metadata_table=table, collapse=True)
    collapsed = lines_of(client, emulator, query)
    assert len(set(collapsed)) == len(collapsed)
    assert meant(collapsed, store) == meant(lines, store)
    # Also for instances that the table does not know: no line that named nothing is lost, and none is gained.
    unknown = set(ALL) - store
    whole_studies = {study for study in STUDIES if all(uids in meant(lines, store) for uids in store if uids[0] == study)}
    assert {uids for uids in meant(collapsed, unknown) if uids[0] not in whole_studies} >= {
        uids for uids in meant(lines, unknown) if uids[0] not in whole_studies
    }
    # No study or series of which everything is selected is named in parts.
    chosen = meant(lines, store)
    for study in STUDIES:
        of_study = {uids for uids in store if uids[0] == study}
        if of_study and of_study <= chosen:
            assert f"/studies/{study}" in collapsed
        for series in SERIES:
            of_series = {uids for uids in of_study if uids[1] == series}
            if of_series and of_series <= chosen and not of_study <= chosen:
                assert f"/studies/{study}/series/{series}" in collapsed
    [counts] = client.query_and_wait(query.count_statement())
    assert tuple(counts) == (len({uids[0] for uids in chosen}), len({uids[:2] for uids in chosen}), len(chosen))


@pytest.mark.slow
@once
@given(lines=st.lists(paths, max_size=12), exported=st.sets(st.sampled_from(ALL)))
def test_instances_of_the_other_table_are_left_out(client, emulator, lines, exported):
    table = instances_table(client, "exported", sorted(exported))
    left_out = {str(FilterPath(*uids)) for uids in exported}
    assert set(lines_of(client, emulator, query_of(lines, except_table=table))) == set(lines) - left_out


@pytest.mark.parametrize(
    ("sql", "columns", "named"),
    [
        ("SELECT '/studies/1/2' AS path", ["path"], "/studies/1/2"),
        ("SELECT 'Modality'", ["f0_"], "Modality"),
        ("SELECT '/studies/1.02' AS path", ["path"], r"/studies/1\.02"),
        (f"SELECT '/studies/1.{'2' * 63}' AS path", ["path"], "/studies/1.2222"),
        (
            "SELECT '1' AS StudyInstanceUID, CAST(NULL AS STRING) AS SeriesInstanceUID",
            list(UID_COLUMNS[:2]),
            "/studies/1/series/NULL",
        ),
        ("SELECT '' AS StudyInstanceUID", ["StudyInstanceUID"], "/studies/"),
    ],
)
def test_a_line_that_is_no_path_is_an_error_that_shows_it(client, sql, columns, named):
    with pytest.raises(Exception, match=f"this is not a DICOM resource path: {named}"):
        client.query_and_wait(FilterQuery(sql, columns).export_statement("gs://filters/bad*"))


def test_a_row_without_any_uid_is_no_line(client, emulator):
    sql = "SELECT CAST(NULL AS STRING) AS StudyInstanceUID UNION ALL SELECT '1.2'"
    assert lines_of(client, emulator, FilterQuery(sql, ["StudyInstanceUID"])) == ["/studies/1.2"]


def test_collapse_needs_to_know_the_store():
    with pytest.raises(ValueError, match="collapse needs metadata_table"):
        FilterQuery("SELECT 1", ["path"], collapse=True)


#: What a store has streamed, in its order: an instance, and what has become of it.
streams = st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(["INSERT", "UPDATE", "DELETE", "delete"])), max_size=15)


def streamed_table(client: bigquery.Client, rows: list[tuple[tuple[str, ...], str]]) -> str:
    kinds = {**dict.fromkeys(UID_COLUMNS, "STRING"), "Type": "STRING", "LastUpdated": "TIMESTAMP", "Number": "INTEGER"}
    config = bigquery.LoadJobConfig(
        schema=[bigquery.SchemaField(name, kind) for name, kind in kinds.items()], write_disposition="WRITE_TRUNCATE"
    )
    loaded = [
        {
            **dict(zip(UID_COLUMNS, uids, strict=True)),
            "Type": kind,
            "LastUpdated": f"2026-01-01T00:00:{number:02}Z",
            "Number": number,
        }
        for number, (uids, kind) in enumerate(rows)
    ]
    load(client, loaded, "demo.filters.streamed", config)
    return "demo.filters.streamed"


@once
@given(rows=streams, collapse=st.booleans())
def test_of_a_streamed_table_the_newest_row_of_each_instance_counts(client, emulator, rows, collapse):
    table = streamed_table(client, rows)
    there = {uids for uids, kind in dict(rows).items() if kind.upper() != "DELETE"}
    query = FilterQuery(
        query_of_table(table, "instance", None, streamed=True),
        UID_COLUMNS,
        metadata_table=table,
        collapse=collapse,
        streamed=True,
    )
    lines = lines_of(client, emulator, query)
    assert meant(lines, set(ALL)) >= there
    assert meant(lines, there) == there
    if not collapse:
        assert len(lines) == len(there)
    ((studies, series, instances),) = client.query_and_wait(query.count_statement())
    assert (studies, series, instances) == (len({uids[0] for uids in there}), len({uids[:2] for uids in there}), len(there))


@once
@given(rows=streams, least=st.integers(0, 15))
def test_a_condition_is_about_the_newest_rows(client, emulator, rows, least):
    table = streamed_table(client, rows)
    newest = {uids: (number, kind) for number, (uids, kind) in enumerate(rows)}
    wanted = {uids for uids, (number, kind) in newest.items() if number >= least and kind.upper() != "DELETE"}
    query = FilterQuery(query_of_table(table, "instance", f"Number >= {least}", streamed=True), UID_COLUMNS)
    assert meant(lines_of(client, emulator, query), set(ALL)) == wanted
