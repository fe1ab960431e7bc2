from __future__ import annotations

import datetime

import pytest

from airflow_dicom import filter_sql


def test_a_tables_level_decides_the_columns():
    sql = filter_sql.query_of_table("p.d.t", "series", "Modality = 'CT' -- only CT")
    assert sql == "SELECT StudyInstanceUID, SeriesInstanceUID\nFROM `p.d.t`\nWHERE (\nModality = 'CT' -- only CT\n)"
    assert filter_sql.query_of_table("bq://p.d.t", "study", None) == "SELECT StudyInstanceUID\nFROM `p.d.t`"


@pytest.mark.parametrize("table", ["p.d.t; DROP TABLE x", "p.d.t` WHERE", "", "a b"])
def test_a_table_cannot_smuggle_sql(table):
    with pytest.raises(ValueError, match=r"it must be project\.dataset\.table"):
        filter_sql.query_of_table(table, "study", None)


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="level is 'frame'"):
        filter_sql.query_of_table("p.d.t", "frame", None)


@pytest.mark.parametrize("table", ["[p:d.t]", "[my-project:set_1.table]", "[p.d.t]"])
def test_legacy_sql_is_refused_with_the_form_to_use(table):
    with pytest.raises(ValueError, match=r"sql is legacy SQL: write .* as `"):
        filter_sql.check_dialect(f"SELECT CONCAT('/studies/', StudyInstanceUID) FROM {table}")


@pytest.mark.parametrize("sql", ["SELECT a[OFFSET(0)] FROM t", "SELECT [1, 2]", "SELECT x FROM UNNEST(['a:b.c']) AS x"])
def test_brackets_of_googlesql_are_no_legacy_sql(sql):
    filter_sql.check_dialect(sql)


@pytest.mark.parametrize(
    ("columns", "query"),
    [
        (["f0_"], "SELECT '' AS path FROM UNNEST([0]) WHERE FALSE UNION ALL (\nSELECT x\n)"),
        (
            ["StudyInstanceUID"],
            "SELECT IF(COALESCE(`StudyInstanceUID`) IS NULL, NULL, CONCAT('/studies/', IFNULL(`StudyInstanceUID`, 'NULL'))) AS path "
            "FROM (\nSELECT x\n)",
        ),
        (
            ["seriesinstanceuid", "studyinstanceuid"],
            "SELECT IF(COALESCE(`studyinstanceuid`, `seriesinstanceuid`) IS NULL, NULL, "
            "CONCAT('/studies/', IFNULL(`studyinstanceuid`, 'NULL'), '/series/', IFNULL(`seriesinstanceuid`, 'NULL'))) AS path "
            "FROM (\nSELECT x\n)",
        ),
    ],
)
def test_the_columns_say_how_to_make_a_path(columns, query):
    assert filter_sql.query_of_paths("SELECT x ;\n", columns) == query


@pytest.mark.parametrize(
    "columns",
    [
        ["a", "b"],
        ["StudyInstanceUID", "Modality"],
        ["SeriesInstanceUID"],
        ["StudyInstanceUID", "SOPInstanceUID"],
        ["SOPInstanceUID"],
    ],
)
def test_columns_that_make_no_path_are_refused(columns):
    with pytest.raises(ValueError, match=f"the query returns the columns {', '.join(columns)}"):
        filter_sql.query_of_paths("SELECT x", columns)


def test_query_parameters_by_name():
    assert filter_sql.query_parameters(
        {"modality": "CT", "n": 3, "ok": True, "day": datetime.date(2026, 1, 2), "ids": ["a"]}
    ) == [
        {"name": "modality", "parameterType": {"type": "STRING"}, "parameterValue": {"value": "CT"}},
        {"name": "n", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "3"}},
        {"name": "ok", "parameterType": {"type": "BOOL"}, "parameterValue": {"value": "true"}},
        {"name": "day", "parameterType": {"type": "DATE"}, "parameterValue": {"value": "2026-01-02"}},
        {
            "name": "ids",
            "parameterType": {"type": "ARRAY", "arrayType": {"type": "STRING"}},
            "parameterValue": {"arrayValues": [{"value": "a"}]},
        },
    ]


def test_query_parameters_as_the_api_takes_them():
    parameter = {"name": "x", "parameterType": {"type": "STRING"}, "parameterValue": {"value": "y"}}
    assert filter_sql.query_parameters([parameter]) == [parameter]
    assert filter_sql.query_parameters(None) == []


@pytest.mark.parametrize("rendered", ["{'modality': 'CT'}", ["modality"], "[]"])
def test_parameters_that_a_template_has_rendered_to_a_text_are_refused(rendered):
    with pytest.raises(ValueError, match=r"query_parameters is .* render_template_as_native_obj=True"):
        filter_sql.query_parameters(rendered)


def test_a_parameter_that_bigquery_cannot_have_is_refused():
    with pytest.raises(ValueError, match=r"query_parameters\['x'\] is a object"):
        filter_sql.query_parameters({"x": object()})


@pytest.mark.parametrize(
    "reason",
    [
        "No matching signature for operator < for argument types: STRING, INT64. Supported signature: ANY < ANY at [3:1]",
        "No matching signature for operator <\n  Argument types: STRING, INT64\n  Signature: T1 < T1",
        "No matching signature for a comparison of argument types: STRING, INT64",
    ],
)
def test_text_that_is_compared_with_a_number_is_explained(reason):
    hint = filter_sql.hint("SELECT x FROM t WHERE `SliceThickness` <= -2.5", reason)
    assert hint.startswith("SliceThickness is a STRING column")
    assert "SAFE_CAST(SliceThickness AS FLOAT64)" in hint
    assert "One of KVP, SliceThickness" in filter_sql.hint("WHERE KVP BETWEEN 80 AND 120 AND SliceThickness < 2", reason)
    assert filter_sql.hint("WHERE Modality = 'CT'", reason) == ""
    assert filter_sql.hint("WHERE SliceThickness < 2", "Unrecognized name: SliceThickness at [1:7]") == ""


def test_a_reserved_word_and_a_missing_table_are_explained():
    assert "`Rows`" in filter_sql.hint("WHERE Rows > 2", "Syntax error: Unexpected keyword ROWS at [4:1]")
    assert "bigquery_table" in filter_sql.hint("", "Not found: Table demo:dicom.metadata was not found in location US")
