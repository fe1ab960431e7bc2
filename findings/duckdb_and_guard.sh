#!/usr/bin/env bash
# A guard before AND does not protect what comes after it in a SELECT list.
#
# Versions: duckdb 2.0.0
# A guess:  `i <> 0 AND CAST(x AS INT) > 0` casts only the rows in which i is not 0.
# Happens:  in a WHERE clause that is so; in a SELECT list both sides run on all rows, so the cast fails in the row that the guard leaves out.
#           CASE WHEN protects there too.
# Matters:  DICOM metadata in tables is text that need not be a number (IS, DS). A check that works as a filter fails as a column.
# Source:   src/execution/expression_executor/execute_conjunction.cpp: Select, for filters, gives each condition the rows that are left (in an
#           order that it adapts to what it measures); Execute, for values, runs each on every row.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb

ROWS = "FROM (VALUES (0, 'none'), (1, '5')) AS rows(i, x)"

assert duckdb.sql(f"SELECT i {ROWS} WHERE i <> 0 AND CAST(x AS INT) > 0").fetchall() == [(1,)]

guarded = duckdb.sql(f"SELECT CASE WHEN i <> 0 THEN CAST(x AS INT) > 0 ELSE false END {ROWS}").fetchall()
assert guarded == [(False,), (True,)], guarded

try:
    found = duckdb.sql(f"SELECT i <> 0 AND CAST(x AS INT) > 0 {ROWS}").fetchall()
except duckdb.ConversionException as error:
    print("seen:", str(error).splitlines()[0])
else:
    raise SystemExit(f"not as recorded: {found}")
PYTHON
