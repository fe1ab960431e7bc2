"""Ask a person whether to go on with what a filter file names. Needs Airflow 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.gcs_uris import check_object_uri
from airflow_dicom.links import dicom as links
from airflow_dicom.links.dicom import FilterFileLink
from airflow_dicom.operators._connection import ConnectionOperator
from airflow_dicom.operators._filter_object import SUMMARY_KEY, FilterObject, generation_made_upstream

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except (ImportError, AirflowOptionalProviderFeatureException) as error:
    raise ImportError("FilterApprovalOperator needs Airflow 3.1 or newer, and apache-airflow-providers-standard.") from error

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.typing import Templated


class FilterApprovalOperator(ConnectionOperator, ApprovalOperator):
    """Show a person the numbers of a filter file, and wait for the answer: *Approve* or *Reject*.

    The task that does the work comes right after this one and names it, ``approved_by="approve"``: it looks at the answer itself,
    and counts again. A rejection skips all that comes after this task but teardowns. While it waits, it takes neither a worker nor,
    from Airflow 3.3 on, a triggerer. The answer, and who gave it, is the return value.

    :param filter_uri: the filter file, ``gs://bucket/name``; a filter operator of this package has written into its metadata how many
        instances it covers (templated)
    :param subject: the question, such as ``"De-identify the cohort?"`` (templated)
    :param body: what to show below the numbers, as Markdown, such as the query (templated)
    :param response_timeout: how long to wait for the answer; after that, ``defaults`` is taken for it
    :param defaults: ``"Reject"`` or ``"Approve"``
    :param ignore_downstream_trigger_rules: whether a rejection also skips tasks whose ``trigger_rule`` would let them run

    The other parameters are those of Airflow's ``ApprovalOperator``, such as ``assigned_users`` and ``notifiers``, and of
    :class:`~airflow_dicom.operators._connection.ConnectionOperator`.
    """

    template_fields: Sequence[str] = ("filter_uri", "subject", "body", *ConnectionOperator.template_fields)
    operator_extra_links = (FilterFileLink(),)
    checks = {"filter_uri": lambda uri: check_object_uri(uri, argument="filter_uri")}

    def __init__(
        self,
        *,
        filter_uri: Templated,
        subject: str,
        body: str = "",
        response_timeout: timedelta | None = timedelta(days=1),
        defaults: str = ApprovalOperator.REJECT,
        ignore_downstream_trigger_rules: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            subject=subject,
            body=body,
            response_timeout=response_timeout,
            defaults=defaults,
            ignore_downstream_trigger_rules=ignore_downstream_trigger_rules,
            **kwargs,
        )
        self.filter_uri: Any = filter_uri
        self._check_literals()

    def execute(self, context: Context) -> None:
        """Read the filter's numbers, and ask.

        :raises DicomArgumentError: the task is mapped, or nobody knows how many instances the filter covers.
        """
        self._check_arguments()
        ti = context["ti"]
        if ti.map_index is not None and ti.map_index >= 0:
            raise DicomArgumentError(
                f"{self.task_id} is mapped: Airflow lets an unmapped task after it run whatever the answers."
            )
        found = FilterObject.read(self, self.filter_uri)
        if (made := generation_made_upstream(self, context, self.filter_uri)) is not None:
            found.check_generation(made)
        if found.instances is None:
            raise DicomArgumentError(
                f"filter_uri is {self.filter_uri!r}; it does not say how many instances it covers, so nobody can approve it. A filter "
                "operator of this package knows with table, or with metadata_table."
            )
        numbers = "\n".join(f"| {name} | {value} |" for name, value in found.counts.items())
        self.body = f"| in the filter | |\n|---|---|\n{numbers}\n\n{self.body}"
        ti.xcom_push(key=SUMMARY_KEY, value={**found.counts, "filter_uri": self.filter_uri, "generation": found.generation})
        links.show(self, context, {FilterFileLink.key: FilterFileLink.url(self.filter_uri)})
        super().execute(context)
