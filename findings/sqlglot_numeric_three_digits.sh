#!/usr/bin/env bash
# BigQuery's NUMERIC, nine digits behind the point, keeps three on the way to DuckDB; BIGNUMERIC, 38, keeps five.
#
# Versions: sqlglot 30.30.0, duckdb 2.0.0
# A guess:  NUMERIC becomes DECIMAL(38, 9), which has the same digits, and what does not fit is an error.
# Happens:  NUMERIC becomes DECIMAL, which is DECIMAL(18, 3) in DuckDB; BIGNUMERIC becomes DECIMAL(38, 5). What has more digits is rounded without
#           a word, in casts, literals and columns, also at unsupported_level=RAISE; and a quotient of two NUMERICs is a DOUBLE.
# Matters:  pixel spacings, slice thicknesses and doses are decimal strings in DICOM, which queries cast to NUMERIC since that is exact. Tested on
#           DuckDB, 0.0005 mm is 0.001 mm, and two spacings that differ are equal.
# Source:   sqlglot/dialects/bigquery.py reads NUMERIC as a DECIMAL without a precision, sqlglot/generators/duckdb.py writes it so.
#           BigQuery's: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0 duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb
import sqlglot


def run(sql):
    [translated] = sqlglot.transpile(sql, read="bigquery", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
    return duckdb.execute(translated).fetchall()


[numbers] = run("SELECT CAST('0.0005' AS NUMERIC), NUMERIC '0.70312' = NUMERIC '0.70345', CAST('0.1234567' AS BIGNUMERIC)")
run("CREATE TABLE t (spacing NUMERIC, dose BIGNUMERIC)")
columns = [kind for (kind,) in duckdb.execute("SELECT data_type FROM duckdb_columns() WHERE table_name = 't'").fetchall()]

if [str(number) for number in numbers] != ["0.001", "True", "0.12346"] or columns != ["DECIMAL(18,3)", "DECIMAL(38,5)"]:
    raise SystemExit(f"not as recorded: {numbers} {columns}")
print("seen: 0.0005 is", numbers[0], "and 0.70312 = 0.70345 is", numbers[1])
print("seen: columns of NUMERIC and BIGNUMERIC are", *columns)
PYTHON
