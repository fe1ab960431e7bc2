"""What is wrong with a query, in BigQuery's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp


def invalid_query(message: str) -> ApiError:
    """Return the error of a query that is wrong."""
    return ApiError(400, message, reason="invalidQuery")


def position(node: exp.Expr) -> str:
    """Return where a node begins in the text, as ``[line:column]``."""
    for inner in node.walk():
        if "line" in inner.meta:
            column = inner.meta["col"] - (inner.meta["end"] - inner.meta["start"])
            return f"[{inner.meta['line']}:{max(column, 1)}]"
    return "[1:1]"


def query_error(error: Exception, tree: exp.Expr | None = None) -> ApiError:
    """Return BigQuery's error for what DuckDB says about a query.

    :param error: DuckDB's error.
    :param tree: the statement as the client wrote it, to find places in.
    """
    import duckdb

    text = str(error)
    first = re.sub(r"^[\w ]+ Error: ", "", text.partition("\n")[0])
    if match := re.search(r"Python exception occurred while executing the UDF: ValueError: (.*)", text):
        return ApiError(501, match[1]) if match[1].startswith("The emulator") else invalid_query(match[1])
    if isinstance(error, duckdb.InterruptException):
        return ApiError(400, "Job execution was cancelled: User requested cancellation", reason="stopped")
    if isinstance(error, duckdb.OutOfMemoryException):
        return ApiError(400, f"Resources exceeded during query execution: {first}", reason="resourcesExceeded")
    if match := re.search(r"Cannot compare values of type (\w+).*? and (?:values of )?type (\w+)", text):
        types = ", ".join(_TYPES.get(name, name) for name in match.groups())
        return invalid_query(f"No matching signature for a comparison of argument types: {types}")
    for pattern, message in _MESSAGES:
        if match := re.search(pattern, text):
            return invalid_query(message.format(match[1], match[match.re.groups]) + _place(tree, match[1]))
    if match := re.search(r"Function with name \"?(\w+)\"? (?:does not exist|is not in the catalog)", text):
        return ApiError(501, f"The emulator does not do the function {match[1].upper()}.")
    if "TRY can not be used" in text:
        return ApiError(501, "The emulator's SAFE functions take no subqueries and no random numbers.")
    if re.search(r"[\d.][\"']? to DECIMAL\(38, ?18\)", first):
        return ApiError(501, "The emulator's BIGNUMERIC has 38 digits, 18 of them behind the point.")
    if first.startswith("The emulator"):
        return ApiError(501, first)
    if isinstance(error, _limits(duckdb)):
        return ApiError(501, f"The emulator cannot run this query: {_clean(first)}")
    return invalid_query(_clean(text.removeprefix(text.partition(" Error: ")[0] + " Error: ").partition("\n\nLINE")[0].strip()))


def _limits(duckdb: Any) -> tuple[type, ...]:
    """Return the errors that say what DuckDB cannot do, not what is wrong with the query or its values."""
    return duckdb.ParserException, duckdb.NotImplementedException, duckdb.InternalException, duckdb.BinderException


#: DuckDB's names of types that BigQuery calls otherwise.
_TYPES = {
    "VARCHAR": "STRING",
    "STRING_LITERAL": "STRING",
    "INTEGER_LITERAL": "INT64",
    "INTEGER": "INT64",
    "BIGINT": "INT64",
    "HUGEINT": "INT64",
    "DOUBLE": "FLOAT64",
    "DECIMAL": "NUMERIC",
    "BOOLEAN": "BOOL",
    "BLOB": "BYTES",
    "TIMESTAMP": "DATETIME",
}

_MESSAGES = [
    (
        r"(MERGE) INTO command cannot affect the same target row",
        "UPDATE/{0} must match at most one source row for each target row",
    ),
    (r"(Division by zero) in expression", "division by zero"),
    (r"Overflow in (\w+) of (?:INT64|BIGINT) \((.*)\)!", "int64 overflow: {1}"),
    (r"(Overflow) on abs\((-?\d+)\)", "int64 overflow: ABS({1})"),
    (r"Overflow in (division) of (-?\d+ / -1)", "int64 overflow: {1}"),
    (r"(INT128) with value (-?\d+) can't be cast .* type INT64", "int64 overflow: {1}"),
    (r"(More) than one row returned by a subquery used as an expression", "Scalar subquery produced more than one element"),
    (r"NOT NULL constraint failed: \w+\.(\w+)", "Required field {0} cannot be null"),
    (r'Referenced column "([^"]+)" (?:not found|was not found)', "Unrecognized name: {0}"),
    (r'Table "([^"]+)" does not have a column named "([^"]+)"', "Name {1} not found inside {0}"),
    (r'Could not find key "([^"]+)" in struct', "Field name {0} does not exist in STRUCT"),
    (r'Referenced table "([^"]+)" not found', "Unrecognized name: {0}"),
    (
        r'column "([^"]+)" must appear in the GROUP BY clause',
        "SELECT list expression references column {0} which is neither grouped nor aggregated",
    ),
    (r"Unknown TimeZone '([^']*)'", "Invalid time zone: {0}"),
    (r"Invalid RANGE (\w+) value", "Window frame offset for PRECEDING or FOLLOWING must be non-negative"),
    (r"(LIMIT|OFFSET)(?:/OFFSET)? cannot be negative", "LIMIT and OFFSET must not be negative"),
    (r"(WHERE|JOIN) clause cannot contain (aggregates|window functions)", "{1} not allowed in {0} clause"),
    (r"(aggregate|window) function calls cannot (?:be nested|contain)", "Aggregations of aggregations are not allowed"),
    (r"(GROUP BY|ORDER) term out of range", "{0} is out of SELECT column number range"),
    (r'Ambiguous reference to column name "([^"]+)"', "Column name {0} is ambiguous"),
]


def _clean(message: str) -> str:
    """Hide the names that the emulator gives to tables."""
    return re.sub(r"\bt_[0-9a-f]{32}\b", "the table", message)


def _place(tree: exp.Expr | None, name: str) -> str:
    from sqlglot import exp

    if tree is None:
        return ""
    for identifier in tree.find_all(exp.Identifier):
        if identifier.name.lower() == name.lower():
            return f" at {position(identifier)}"
    return ""
