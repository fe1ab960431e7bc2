#!/usr/bin/env bash
# TRY catches errors, but not those of error().
#
# Versions: duckdb 2.0.0
# A guess:  TRY(…) is NULL wherever … raises, so it is what BigQuery's SAFE. prefix and SAFE_CAST need.
# Happens:  TRY(CAST('x' AS INT)) is NULL; TRY(error('x')) is refused before it runs, even where no row would get to error().
# Matters:  who brings BigQuery's SQL to DuckDB raises BigQuery's errors by error(), and then cannot write SAFE.f(x) as TRY(f(x)).
# Source:   error() is declared VOLATILE (duckdb_functions()), and the binder takes no volatile function inside TRY.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb

assert duckdb.sql("SELECT TRY(CAST('x' AS INT))").fetchall() == [(None,)]

stability = duckdb.sql("SELECT DISTINCT stability FROM duckdb_functions() WHERE function_name = 'error'").fetchall()
assert stability == [("VOLATILE",)], stability

try:
    found = duckdb.sql("SELECT TRY(CASE WHEN i > 5 THEN error('x') ELSE i END) FROM (VALUES (0), (1)) AS rows(i)").fetchall()
except duckdb.BinderException as error:
    print("seen:", str(error).splitlines()[0])
else:
    raise SystemExit(f"not as recorded: {found}")
PYTHON
