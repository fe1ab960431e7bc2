"""The SQL that makes a filter file of a query. No Airflow, no Google library.

Sources: the filter's grammar in ``ExportDicomDataRequest.filterConfig``; UIDs in DICOM PS3.5, section 9.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_dicom.filter_paths import MAX_UID_LENGTH, PATH_REGEX, Level

#: The columns of a path's parts, as a BigQuery export names them.
UID_COLUMNS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_LEVELS: dict[str, int] = {"study": 1, "series": 2, "instance": 3}
_PARTS = ("/studies/", "/series/", "/instances/")

#: How the error begins that a line causes which is not a path.
NO_PATH = "airflow-dicom: this is not a DICOM resource path"

_TABLE = re.compile(r"(?:bq://)?`?([^`\s;]+)`?")
_LEGACY_TABLE = re.compile(r"\[([\w.-]+)[:.](\w+)\.([\w$]+)\]")

#: BigQuery's words for a comparison of text with a number.
_TEXT_AND_NUMBER = re.compile(
    r"No matching signature.*types: (?:STRING, (?:INT64|FLOAT64|NUMERIC)|(?:INT64|FLOAT64|NUMERIC), STRING)",
    re.DOTALL | re.IGNORECASE,
)

#: A column that a query compares with a number.
_COMPARED_WITH_NUMBER = re.compile(
    r"\b([A-Za-z_]\w*)`?\s*(?:[<>=]|<=|>=|<>|!=|BETWEEN|NOT BETWEEN|IN\s*\()\s*[-+]?\.?\d", re.IGNORECASE
)

#: Python type -> GoogleSQL type of a query parameter; ``bool`` before ``int``, ``datetime`` before ``date``: they are subclasses.
_PARAMETER_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "BOOL"),
    (int, "INT64"),
    (float, "FLOAT64"),
    (datetime.datetime, "TIMESTAMP"),
    (datetime.date, "DATE"),
    (str, "STRING"),
)


def query_of_table(table: str, level: Level, where: str | None, *, streamed: bool = False) -> str:
    """Return the query that selects the UIDs of a metadata table.

    :param table: ``project.dataset.table`` or ``dataset.table``.
    :param level: what a line of the filter names.
    :param where: a condition in GoogleSQL.
    :param streamed: whether a store streams its changes to the table; see :func:`rows_of_table`.
    :raises ValueError: an argument cannot be used.
    """
    rows = rows_of_table(table, streamed=streamed)
    if level not in _LEVELS:
        raise ValueError(f"level is {level!r}; it must be 'study', 'series' or 'instance'.")
    # A DAG with native rendering makes False, or 0, of a condition's text.
    condition = "" if where in (None, "") else f"\nWHERE (\n{where}\n)"
    return f"SELECT {', '.join(UID_COLUMNS[: _LEVELS[level]])}\nFROM {rows}{condition}"


def rows_of_table(table: str, *, streamed: bool) -> str:
    """Return what stands behind ``FROM`` for a metadata table.

    :param streamed: whether a store streams its changes to the table, which has several rows of an instance then, and those of deleted
        ones. Only the newest row of each counts, and none where that tells of a deletion.
    :raises ValueError: it is not the name of a table.
    """
    name = table_name(table, "table")
    if not streamed:
        return f"`{name}`"
    uids = ", ".join(UID_COLUMNS)
    return (
        f"(\nSELECT * FROM `{name}` WHERE TRUE\n"
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {uids} ORDER BY LastUpdated DESC) = 1 AND IFNULL(UPPER(Type), '') <> 'DELETE'\n)"
    )


def table_name(table: Any, argument: str) -> str:
    """Return a table's name without what may be around it.

    :param argument: the name of the argument that holds it, for the error's text.
    :raises ValueError: it is not the name of a table.
    """
    match = _TABLE.fullmatch(table) if isinstance(table, str) else None
    if not match:
        raise ValueError(f"{argument} is {table!r}; it must be project.dataset.table.")
    return match.group(1)


def check_dialect(sql: str) -> None:
    """Refuse legacy SQL, which the API's how-to still shows: ``EXPORT DATA`` knows GoogleSQL only.

    :raises ValueError: the text shows how to write the table instead.
    """
    if not isinstance(sql, str):
        raise ValueError(f"sql is {sql!r}; it must be the text of one query.")
    match = _LEGACY_TABLE.search(sql)
    if match:
        raise ValueError(f"sql is legacy SQL: write {match.group(0)} as `{'.'.join(match.groups())}`.")


def hint(sql: str, reason: str) -> str:
    """Return what to do about a query that BigQuery has refused, for what is met most often; empty for any other fault.

    Attributes of the types DS and IS are STRING columns in BigQuery, and its error names neither the column nor the remedy.

    :param sql: the query.
    :param reason: why BigQuery refused it.
    """
    if "keyword ROWS" in reason:
        return "Rows is a reserved word: write `Rows`, between backticks."
    if reason.startswith("Not found: Table"):
        return "Correct its name, or make it first: DicomExportOperator with bigquery_table writes a store's metadata to it."
    columns = list(dict.fromkeys(_COMPARED_WITH_NUMBER.findall(sql)))
    if not (_TEXT_AND_NUMBER.search(reason) and columns):
        return ""
    which = columns[0] if len(columns) == 1 else f"One of {', '.join(columns)}"
    return f"{which} is a STRING column, as attributes of DICOM's types DS and IS are: write SAFE_CAST({columns[0]} AS FLOAT64)."


def names_instances(columns: Sequence[str]) -> bool:
    """Tell whether each row of a query with these columns names one instance, so that the number of rows is theirs."""
    return len(columns) == len(UID_COLUMNS)


def query_of_paths(sql: str, columns: Sequence[str]) -> str:
    """Return a query with one column, ``path``, that holds the paths which the user's query means.

    :param sql: the user's query.
    :param columns: the names of its columns: one, with or without a name, that holds paths, or the UIDs.
    :raises ValueError: they are neither.
    """
    sql = strip_semicolon(sql)
    names = {column.lower(): column for column in columns}
    uids = [names[column.lower()] for column in UID_COLUMNS if column.lower() in names]
    expected = [column.lower() for column in UID_COLUMNS[: len(uids)]]
    if uids and len(columns) == len(uids) and [uid.lower() for uid in uids] == expected:
        # A row without any UID is none; one that lacks a UID is an error, and its path shows which.
        path = "CONCAT(" + ", ".join(f"'{part}', IFNULL(`{uid}`, 'NULL')" for part, uid in zip(_PARTS, uids, strict=False)) + ")"
        return f"SELECT IF(COALESCE({', '.join(f'`{uid}`' for uid in uids)}) IS NULL, NULL, {path}) AS path FROM (\n{sql}\n)"
    if len(columns) == 1 and not uids:
        # A column without a name cannot be named in SQL; a union takes the names of its first query.
        return f"SELECT '' AS path FROM UNNEST([0]) WHERE FALSE UNION ALL (\n{sql}\n)"
    raise ValueError(
        f"the query returns the columns {', '.join(columns)}; it must return one column of paths (/studies/…[/series/…"
        "[/instances/…]]), or StudyInstanceUID[, SeriesInstanceUID[, SOPInstanceUID]]."
    )


@dataclass(frozen=True)
class FilterQuery:
    """The lines of a filter file, as SQL.

    :param sql: the user's query.
    :param columns: the names of its columns.
    :param except_table: a table whose instances are left out; ``None`` for none.
    :param metadata_table: a table of all instances of the store; ``None`` when there is none.
    :param collapse: whether to name a whole series, or a whole study, by one line, as ``metadata_table`` tells.
    :param streamed: whether a store streams its changes to ``metadata_table``; see :func:`rows_of_table`.
    """

    sql: str
    columns: Sequence[str]
    except_table: str | None = None
    metadata_table: str | None = None
    collapse: bool = False
    streamed: bool = False

    def __post_init__(self) -> None:
        if self.collapse and not self.metadata_table:
            raise ValueError("collapse needs metadata_table, which tells what makes a study or a series whole.")

    def check(self) -> None:
        """Check that the columns are those of paths.

        :raises ValueError: they are not.
        """
        query_of_paths(self.sql, self.columns)

    @property
    def counts_instances(self) -> bool:
        """Whether each line names one instance."""
        return names_instances(self.columns) and not self.collapse

    def export_statement(self, uri: str) -> str:
        """Return the ``EXPORT DATA`` statement that writes the lines: each once, none that is NULL, none that is not a path.

        :param uri: ``gs://bucket/prefix*``.
        :raises ValueError: the columns are not those of paths.
        """
        uri = uri.replace("\\", "\\\\").replace("'", "\\'")
        lines = _COLLAPSED if self.collapse else "SELECT path FROM wanted"
        return (
            f"EXPORT DATA OPTIONS (uri = '{uri}', format = 'CSV', header = false, overwrite = true) AS\n"
            f"WITH {self._wanted()}{self._known() if self.collapse else ''}\n{lines}"
        )

    def count_statement(self) -> str:
        """Return the query that counts the studies, series and instances of ``metadata_table`` which the lines name.

        :raises ValueError: the columns are not those of paths.
        """
        return f"WITH {self._wanted()}{self._known()}\n{_COUNTED}"

    def _wanted(self) -> str:
        lengths = " AND ".join(f"LENGTH(IFNULL(SPLIT(path, '/')[SAFE_OFFSET({i})], '')) <= {MAX_UID_LENGTH}" for i in (2, 4, 6))
        wanted = f"""wanted AS (
SELECT DISTINCT
  IF(
    REGEXP_CONTAINS(path, r'^{PATH_REGEX}$') AND {lengths},
    path,
    ERROR(CONCAT('{NO_PATH}: ', path))
  ) AS path
FROM (
{query_of_paths(self.sql, self.columns)}
)
WHERE path IS NOT NULL"""
        if self.except_table:
            table = table_name(self.except_table, "except_table")
            wanted += f" AND path NOT IN (\nSELECT {_INSTANCE} FROM `{table}` WHERE {_WHOLE_ROW}\n)"
        return f"{wanted}\n)"

    def _known(self) -> str:
        assert self.metadata_table is not None
        return _KNOWN.format(rows=rows_of_table(self.metadata_table, streamed=self.streamed))


@dataclass(frozen=True)
class FilterSource:
    """Where the lines of a filter file come from, in the words of the operator's arguments: of ``sql``, or of ``table``."""

    sql: str | None
    table: str | None
    level: Level
    where: str | None
    except_table: str | None
    metadata_table: str | None
    collapse: bool
    streamed: bool

    def select(self) -> str:
        """Return the query that selects paths, or the columns of UIDs.

        :raises ValueError: the arguments do not go together, or one of them cannot be used.
        """
        if bool(self.sql) == bool(self.table):
            given = "both are" if self.sql else "neither is"
            raise ValueError(f"A filter comes from one query: give sql or table; {given} given.")
        if self.table:
            return query_of_table(self.table, self.level, self.where, streamed=self.streamed)
        if self.where:
            raise ValueError("where goes with table; put the condition into sql.")
        if self.streamed:
            raise ValueError("streamed goes with table; let sql itself take the newest row of each instance.")
        return strip_semicolon(self.sql or "")

    def query(self, sql: str, columns: Sequence[str]) -> FilterQuery:
        """Return the filter as SQL.

        :param sql: what :meth:`select` has returned.
        :param columns: the names of its columns.
        :raises ValueError: they are not those of paths.
        """
        if not columns:
            raise ValueError("sql returns no rows; it must be one SELECT.")
        streamed = self.streamed and not self.metadata_table
        query = FilterQuery(sql, columns, self.except_table, self.metadata_table or self.table, self.collapse, streamed)
        query.check()
        return query


_STUDY = "CONCAT('/studies/', StudyInstanceUID)"
_SERIES = "CONCAT('/studies/', StudyInstanceUID, '/series/', SeriesInstanceUID)"
_INSTANCE = "CONCAT('/studies/', StudyInstanceUID, '/series/', SeriesInstanceUID, '/instances/', SOPInstanceUID)"
_WHOLE_ROW = "StudyInstanceUID IS NOT NULL AND SeriesInstanceUID IS NOT NULL AND SOPInstanceUID IS NOT NULL"

# The lines and the store's instances side by side, so that each query is read once: a query with RAND() or LIMIT may answer otherwise
# when it is read again.
_KNOWN = f""", tagged AS (
SELECT
  path,
  REGEXP_EXTRACT(path, r'^/studies/[^/]+') AS study,
  IFNULL(REGEXP_EXTRACT(path, r'^/studies/[^/]+/series/[^/]+'), '') AS series,
  TRUE AS is_line
FROM wanted
UNION ALL
SELECT DISTINCT {_INSTANCE}, {_STUDY}, {_SERIES}, FALSE
FROM {{rows}}
WHERE {_WHOLE_ROW}
), named AS (
SELECT
  path, study, series, is_line,
  LOGICAL_OR(is_line AND path = study) OVER (PARTITION BY study)
    OR LOGICAL_OR(is_line AND path = series) OVER (PARTITION BY study, series)
    OR LOGICAL_OR(is_line) OVER (PARTITION BY path) AS is_named,
  CASE path
    WHEN study THEN LOGICAL_AND(is_line) OVER (PARTITION BY study)
    WHEN series THEN LOGICAL_AND(is_line) OVER (PARTITION BY study, series)
    ELSE LOGICAL_AND(is_line) OVER (PARTITION BY path)
  END AS is_unknown
FROM tagged
)"""

_COLLAPSED = """SELECT DISTINCT
  CASE WHEN is_line THEN path WHEN whole_study THEN study WHEN whole_series THEN series ELSE path END AS path
FROM (
  SELECT
    path, study, series, is_line, is_named, is_unknown,
    LOGICAL_AND(is_line OR is_named) OVER (PARTITION BY study) AS whole_study,
    LOGICAL_AND(is_line OR is_named) OVER (PARTITION BY study, series) AS whole_series
  FROM named
)
WHERE IF(is_line, is_unknown, is_named)"""

_COUNTED = """SELECT COUNT(DISTINCT study) AS studies, COUNT(DISTINCT series) AS series, COUNT(*) AS instances
FROM named
WHERE NOT is_line AND is_named"""


def strip_semicolon(sql: str) -> str:
    """Return a query without the semicolon that may end it."""
    return sql.rstrip().rstrip(";").rstrip()


def query_parameters(parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Return BigQuery's ``queryParameters``.

    :param parameters: values by name, or the API's own list.
    :raises ValueError: they are neither, as what a template renders to without ``render_template_as_native_obj=True``; or a value
        has a type that BigQuery has no parameter for.
    """
    if parameters is None:
        return []
    if isinstance(parameters, Mapping):
        return [{"name": name, **_parameter(name, value)} for name, value in parameters.items()]
    is_list = isinstance(parameters, Sequence) and not isinstance(parameters, str)
    if is_list and all(isinstance(parameter, Mapping) for parameter in parameters):
        return [dict(parameter) for parameter in parameters]
    raise ValueError(
        f"query_parameters is {parameters!r}; it must be values by name, or a list as BigQuery's API takes it. A template that "
        "renders to one needs a DAG with render_template_as_native_obj=True."
    )


def _parameter(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, (list, tuple)):
        items = [_parameter(name, item) for item in value]
        item_type = items[0]["parameterType"] if items else {"type": "STRING"}
        return {
            "parameterType": {"type": "ARRAY", "arrayType": item_type},
            "parameterValue": {"arrayValues": [item["parameterValue"] for item in items]},
        }
    for kind, type_name in _PARAMETER_TYPES:
        if isinstance(value, kind):
            text = str(value).lower() if kind is bool else value.isoformat() if hasattr(value, "isoformat") else str(value)
            return {"parameterType": {"type": type_name}, "parameterValue": {"value": text}}
    raise ValueError(
        f"query_parameters[{name!r}] is a {type(value).__name__}; use text, numbers, booleans, dates or lists of them."
    )
