#!/usr/bin/env bash
# A macro evaluates its argument each time that it names it.
#
# Versions: duckdb 2.0.0
# A guess:  `CREATE MACRO pair(x) AS [x, x]` makes a list of two equal values, as a function's argument is evaluated once.
# Happens:  the argument's text is put in place of the name: pair(nextval('s')) is [1, 2], and same(random()), for x = x, is false in every row.
# Matters:  whoever writes the functions of another SQL dialect as macros must name each argument once, or those that are not the same twice
#           (random(), uuid(), nextval()) give answers that no row can have. An argument that is costly is computed as often, too.
# Source:   src/planner/expression_binder/ (macro binding): the parameters are replaced in the parsed expression, before it is bound.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb

duckdb.sql("CREATE SEQUENCE s")
duckdb.sql("CREATE MACRO pair(x) AS [x, x]")
duckdb.sql("CREATE MACRO same(x) AS x = x")

[(pair,)] = duckdb.sql("SELECT pair(nextval('s'))").fetchall()
[(equal, all_rows)] = duckdb.sql("SELECT count(*) FILTER (same(random())), count(*) FROM range(1000)").fetchall()
[(computed, _)] = duckdb.sql("SELECT count(*) FILTER (same(x)), count(*) FROM (SELECT random() AS x FROM range(1000))").fetchall()
if (pair, equal, computed) != ([1, 2], 0, all_rows):
    raise SystemExit(f"not as recorded: {pair}, {equal} and {computed} of {all_rows}")
print(f"seen: pair(nextval('s')) is {pair}; same(random()) in {equal} of {all_rows} rows, with random() computed before, in {computed}")
PYTHON
