#!/usr/bin/env bash
# MAX_BY passes over a row whose value is NULL on the way from BigQuery to DuckDB; ANY_VALUE(x HAVING MAX y), which it is short for, does not.
#
# Versions: sqlglot 30.30.0, duckdb 2.0.0
# A guess:  BigQuery's reference calls MAX_BY(x, y) a synonym for ANY_VALUE(x HAVING MAX y), so both give the same everywhere.
# Happens:  MAX_BY becomes ARG_MAX, which looks only at rows where x is not NULL; ANY_VALUE with HAVING becomes ARG_MAX_NULL. So MAX_BY gives the
#           value of an older row where the newest has none. MIN_BY does the same.
# Matters:  the state of each instance is that of its newest row where a table has one for each change. Tested on DuckDB, what was withdrawn
#           (its value is NULL now) still has the value from before.
# Source:   sqlglot reads MAX_BY as exp.ArgMax for all dialects; DuckDB has arg_max and arg_max_null:
#           https://duckdb.org/docs/stable/sql/functions/aggregates
#           https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate_functions#max_by
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0 duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb
import sqlglot

sql = """
SELECT MAX_BY(consent, version), ANY_VALUE(consent HAVING MAX version), MIN_BY(consent, -version)
FROM (SELECT 'given' AS consent, 1 AS version UNION ALL SELECT NULL, 2)
"""
[translated] = sqlglot.transpile(sql, read="bigquery", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
[found] = duckdb.execute(translated).fetchall()

if found != ("given", None, "given"):
    raise SystemExit(f"not as recorded: {found}")
print("seen: the newest row's value is NULL; MAX_BY gives", repr(found[0]), "and ANY_VALUE with HAVING MAX", found[1])
PYTHON
