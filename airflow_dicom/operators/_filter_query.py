"""The query that selects the lines of a filter file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.filter_sql import FilterQuery, FilterSource, check_dialect, table_name
from airflow_dicom.operators._bigquery_job import BigQueryJobOperator
from airflow_dicom.operators._connection import NOT_GIVEN, OneOf

if TYPE_CHECKING:
    from airflow_dicom.typing import Templated


def _check_table(argument: str, name: Any) -> None:
    if name != "":  # of sql and table, a DAG may let templates leave one empty
        table_name(name, argument)


class FilterQueryOperator(BigQueryJobOperator):
    """Select paths by a query, or from a metadata table, in one job.

    The parameters are those of :class:`~airflow_dicom.operators.filter_file.FilterFileFromBigQueryOperator`.
    """

    template_fields: Sequence[str] = (
        "sql",
        "table",
        "level",
        "where",
        "except_table",
        "metadata_table",
        *BigQueryJobOperator.template_fields,
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "where": "sql"}
    found_out = (*BigQueryJobOperator.found_out, "_columns")
    switches: ClassVar[Sequence[str]] = ("collapse", "streamed")
    checks = {
        "level": OneOf("level", "study", "series", "instance"),
        "sql": check_dialect,
        **{argument: partial(_check_table, argument) for argument in ("table", "except_table", "metadata_table")},
    }

    def __init__(
        self,
        *,
        sql: Templated | None = None,
        table: Templated | None = None,
        level: Templated = "instance",
        where: Templated | None = NOT_GIVEN,
        except_table: Templated | None = NOT_GIVEN,
        metadata_table: Templated | None = None,
        collapse: bool = False,
        streamed: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql: Any = sql
        self.table: Any = table
        self.level: Any = level
        self.where: str | None
        self.except_table: str | None
        self._narrow(where=where, except_table=except_table)
        self.metadata_table: Any = metadata_table
        self.collapse = collapse
        self.streamed = streamed
        self._columns: Sequence[str] = []

    @cached_property
    def query(self) -> FilterQuery:
        """The filter as SQL. The names of the query's columns come from a dry run.

        :raises DicomArgumentError: an argument cannot be used.
        """
        source = FilterSource(**{field.name: getattr(self, field.name) for field in fields(FilterSource)})
        try:
            sql = source.select()
            self._columns = self._columns or self.dry_run_query(sql).columns
            return source.query(sql, self._columns)
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error

    def counts(self, rows: int) -> dict[str, int | None]:
        """Return how many lines there are, and how many studies, series and instances they mean."""
        counts: dict[str, int | None] = {"paths": rows, "studies": None, "series": None, "instances": None}
        if self.query.metadata_table is not None:
            counts |= {name: int(value or 0) for name, value in self.first_row(self.query.count_statement()).items()}
        return counts | {"instances": rows} if self.query.counts_instances else counts
