#!/usr/bin/env bash
# TRY does not catch an error inside of AND, IN or BETWEEN.
#
# Versions: duckdb 2.0.0
# A guess:  where TRY(CAST(x AS INT)) is NULL, so is TRY(CAST(x AS INT) IN (1, 2)).
# Happens:  so it is for +, =, CASE, COALESCE and functions; with AND, IN or BETWEEN around the cast, the query fails. split_part fails as
#           well: it is a macro with AND inside. In a lambda, TRY catches the error again.
# Matters:  who writes SAFE.f(x) as TRY(f(x)) has queries that fail by how f is written, and not by what it does.
# Source:   nothing in the documentation of TRY says which expressions it looks into.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb

NUMBER = "CAST(x AS INT)"


def tried(expression: str) -> str:
    try:
        rows = duckdb.sql(f"SELECT TRY({expression}) FROM (VALUES ('a'), ('2')) AS rows(x)").fetchall()
    except duckdb.ConversionException:
        return "fails"
    return "NULL" if rows[0] == (None,) else str(rows)


caught = [
    f"{NUMBER} + 1",
    f"{NUMBER} = 2",
    f"CASE WHEN {NUMBER} = 2 THEN 1 END",
    f"COALESCE({NUMBER}, 1)",
    "list_transform([x], lambda y: CAST(y AS INT) IN (1, 2))[1]",
]
lost = [
    f"{NUMBER} = 1 AND {NUMBER} = 2",
    f"{NUMBER} IN (1, 2)",
    f"{NUMBER} BETWEEN 1 AND 2",
    f"split_part(CAST({NUMBER} AS VARCHAR), ' ', 1)",
]
assert {tried(expression) for expression in caught} == {"NULL"}, [tried(expression) for expression in caught]
found = [tried(expression) for expression in lost]
if found != ["fails"] * len(lost):
    raise SystemExit(f"not as recorded: {found}")
print("seen: TRY around AND, IN, BETWEEN and split_part: the query fails")
PYTHON
