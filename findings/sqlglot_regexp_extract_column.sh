#!/usr/bin/env bash
# BigQuery's REGEXP_EXTRACT returns the whole match, not its group, when the pattern is not a literal, on the way to DuckDB.
#
# Versions: sqlglot 30.30.0, duckdb 2.0.0
# A guess:  REGEXP_EXTRACT(x, pattern) returns what the pattern's group has found, be the pattern a literal, a column or a concatenation; or the
#           translation is reported as unsupported.
# Happens:  the group is asked for where the pattern is a literal only. With a column, or 'a' || '(b)', the whole match comes back, and nothing is
#           said, with unsupported_level=RAISE too.
# Matters:  patterns of study descriptions or of patients' ids come from a table of rules or from a parameter; what is selected by them on DuckDB
#           is not what BigQuery selects.
# Source:   sqlglot/parsers/bigquery.py counts the groups of a literal when it parses. BigQuery:
#           https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions#regexp_extract
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0 duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb
import sqlglot


def run(pattern, rest=""):
    sql = f"SELECT REGEXP_EXTRACT('CT chest', {pattern}){rest}"
    [translated] = sqlglot.transpile(sql, read="bigquery", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
    [(found,)] = duckdb.execute(translated).fetchall()
    return found


literal = run("'CT (.*)'")
column = run("p", " FROM (SELECT 'CT (.*)' AS p) AS t")
joined = run("CONCAT('CT ', '(.*)')")

if (literal, column, joined) != ("chest", "CT chest", "CT chest"):
    raise SystemExit(f"not as recorded: {literal!r} {column!r} {joined!r}")
print(f"seen: {literal!r} of a literal, {column!r} of a column, {joined!r} of a concatenation")
PYTHON
