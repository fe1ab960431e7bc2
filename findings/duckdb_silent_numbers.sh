#!/usr/bin/env bash
# Arithmetic that BigQuery refuses gives inf or NaN, and COUNTIF's counterpart is NULL over no rows.
#
# Versions: duckdb 2.0.0
# A guess:  SQRT(-1), LN(0), 1/0 and 1e300 * 1e300 raise, as they do in BigQuery, and count_if over no rows is 0, as COUNT(*) is.
# Happens:  nan, -inf, inf and inf without an error; count_if is NULL.
# Matters:  a query that was tested on DuckDB (a quality check over DICOM metadata, say) fails on BigQuery; `count_if(bad) = 0` is not true
#           of an empty table.
# Source:   BigQuery's reference says of SQRT, LN, division and overflow when they raise, and of COUNTIF that it is never NULL. DuckDB's numbers are
#           those of IEEE 754, and its count_if is an aggregate of the type HUGEINT (duckdb_functions()) that begins with NULL, as SUM does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb

[numbers] = duckdb.sql("SELECT SQRT(-1), LN(0), 1 / 0, 1e300 * 1e300").fetchall()
[counts] = duckdb.sql("SELECT count_if(x), count(*) FROM (SELECT true AS x WHERE false)").fetchall()

if str(numbers) != "(nan, -inf, inf, inf)" or counts != (None, 0):
    raise SystemExit(f"not as recorded: {numbers}, {counts}")
print("seen:", *numbers, "and count_if", counts[0])
PYTHON
