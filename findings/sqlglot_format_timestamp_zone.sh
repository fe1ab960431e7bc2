#!/usr/bin/env bash
# BigQuery's FORMAT_TIMESTAMP loses its time zone on the way to DuckDB.
#
# Versions: sqlglot 30.30.0, duckdb 2.0.0
# A guess:  FORMAT_TIMESTAMP('%H:%M', t, 'America/New_York') becomes something that knows of New York, or is reported as unsupported.
# Happens:  the third argument is not in the result, and nothing is said, with unsupported_level=RAISE too. 00:00 in UTC is written as 00:00,
#           where BigQuery writes 19:00.
# Matters:  the day of a study is often asked for in the hospital's zone; a query checked on DuckDB so reports other days than BigQuery's.
# Source:   sqlglot/parsers/bigquery.py keeps the zone in TimeToStr; sqlglot/generators/duckdb.py writes a TimeToStr as STRFTIME of the value
#           and the format only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0 duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb
import sqlglot

SQL = "SELECT FORMAT_TIMESTAMP('%H:%M', TIMESTAMP '2024-01-01 00:00:00+00', 'America/New_York')"

[translated] = sqlglot.transpile(SQL, read="bigquery", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
[written] = connection.execute(translated).fetchone()

if "New_York" in translated or written != "00:00":
    raise SystemExit(f"not as recorded: {translated} -> {written}")
print("seen:", translated, "->", written)
PYTHON
