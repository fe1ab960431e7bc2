#!/usr/bin/env bash
# BigQuery's only integer, INT64, has 32 bits after the way to DuckDB.
#
# Versions: sqlglot 30.30.0, duckdb 2.0.0
# A guess:  INT, INTEGER and SMALLINT, which are names of INT64 in BigQuery, become DuckDB's BIGINT; a literal is one, too.
# Happens:  CAST(x AS INT) and a column of type INTEGER become DuckDB's INT of 32 bits, and a literal is an INT32 there. A larger value, or a
#           product of small ones, is an error that BigQuery does not have; and BIT_COUNT(-1) is 32 without a word, where BigQuery says 64.
# Matters:  sizes, counts and numbers of instances are multiplied and summed in queries over DICOM metadata. Such a query is checked on DuckDB
#           with the few small rows of a test, and fails, or differs, with real ones.
# Source:   sqlglot/dialects/bigquery.py knows the names; sqlglot/generators/duckdb.py writes DType.INT as INT, and literals as they are.
#           BigQuery's names: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#integer_types
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0 duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb
import sqlglot

FAILS = ("SELECT CAST(3000000000 AS INT)", "SELECT IF(TRUE, 100000, 0) * IF(TRUE, 100000, 0)")


def run(sql):
    [translated] = sqlglot.transpile(sql, read="bigquery", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
    try:
        return duckdb.execute(translated).fetchall()
    except duckdb.Error as error:
        return str(error).splitlines()[0]


run("CREATE TABLE t (x INTEGER)")
[(kind,)] = duckdb.execute("SELECT data_type FROM duckdb_columns() WHERE table_name = 't'").fetchall()
bits = run("SELECT BIT_COUNT(-1)")
errors = [run(sql) for sql in FAILS]

if kind != "INTEGER" or bits != [(32,)] or not all("INT32" in str(error) for error in errors):
    raise SystemExit(f"not as recorded: {kind} {bits} {errors}")
print("seen: a column of type", kind, "of 32 bits; BIT_COUNT(-1) is", bits[0][0])
for sql, error in zip(FAILS, errors):
    print("seen:", sql, "->", error)
PYTHON
