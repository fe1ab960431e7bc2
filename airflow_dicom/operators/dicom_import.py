"""Import DICOM instances from Cloud Storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_dicom.exceptions import DicomArgumentError, DicomOperationError
from airflow_dicom.gcs_uris import check_import_uri, check_object_uri, folder_of_import
from airflow_dicom.links.dicom import GcsPrefixLink
from airflow_dicom.operators._connection import NOT_GIVEN, one_or_many
from airflow_dicom.operators._failed_files import left_to_a_retry, list_failed_files, read_failed_files
from airflow_dicom.operators._new_instances import NewInstancesOperator
from airflow_dicom.operators._operations import Request
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.operation import Operation
    from airflow_dicom.typing import Templated


def _uris(gcs_uri: Any) -> list[str]:
    """Return the URIs of ``gcs_uri``, one or a list, each once.

    :raises ValueError: one of them cannot be imported, or there is none.
    """
    uris = one_or_many(gcs_uri)
    if not uris:
        raise ValueError("gcs_uri is an empty list; nothing would be imported.")
    for uri in uris:
        check_import_uri(uri)
    return list(dict.fromkeys(uris))


class DicomImportOperator(NewInstancesOperator):
    """Copy DICOM files from Cloud Storage into a DICOM store (``dicomStores.import``).

    Instances that the store has already are ignored by the service, so that the import can be repeated. Files that are not DICOM
    count as failed. The store's service agent needs ``roles/storage.objectViewer`` on the bucket.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicom-import-export

    :param gcs_uri: ``gs://bucket/object``, or a list of such: an operation each, judged as one. ``*`` stands for characters other than
        ``/``, ``?`` for one, ``**`` (at the end, or before a file extension, and alone) for any, as in ``gs://bucket/folder/**.dcm``
        (templated)
    :param only_failed_of: instead of ``gcs_uri``: an object that ``failed_uris`` of an earlier import has written; those files are
        imported, each by an operation (templated)
    :param failed_uris: the object, ``gs://bucket/name``, to write the files to that failed, when some did: a line of JSON each with
        ``uri``, ``code`` and ``message``. Another one than ``only_failed_of``. When none did, an object of an earlier import is
        removed. They are read from Cloud Logging, for which Airflow's account needs ``roles/logging.viewer``. The service limits how
        many it logs. A retry imports only these files, if all are known and ``expected_instances`` is not given (templated)
    :param blob_storage_class: ``STANDARD``, ``NEARLINE``, ``COLDLINE`` or ``ARCHIVE``; by default the service's (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._new_instances.NewInstancesOperator` and
    :class:`~airflow_dicom.operators.DicomOperationOperator`.
    """

    template_fields: Sequence[str] = (
        "gcs_uri",
        "only_failed_of",
        "failed_uris",
        "blob_storage_class",
        *NewInstancesOperator.template_fields,
    )
    operator_extra_links = (*NewInstancesOperator.operator_extra_links, GcsPrefixLink())
    at_the_end: ClassVar[Sequence[str]] = ("failed_uris",)
    #: A list of failed files may have changed when a task resumes.
    found_out = (*NewInstancesOperator.found_out, "_sources")
    checks = {
        **NewInstancesOperator.checks,
        "gcs_uri": _uris,
        "only_failed_of": lambda uri: check_object_uri(uri, argument="only_failed_of"),
        "failed_uris": lambda uri: check_object_uri(uri, argument="failed_uris"),
    }

    def __init__(
        self,
        *,
        gcs_uri: Templated | Sequence[str] | None = None,
        only_failed_of: Templated | None = NOT_GIVEN,
        failed_uris: Templated | None = None,
        blob_storage_class: Templated | None = NOT_GIVEN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gcs_uri: Any = gcs_uri
        self.failed_uris: Any = failed_uris
        self.only_failed_of: Any
        self.blob_storage_class: Any
        self._narrow(only_failed_of=only_failed_of, blob_storage_class=blob_storage_class)
        self._sources: Sequence[str] = []
        self._check_literals()

    def plan(self, context: Context) -> Plan:
        """Return the request with an ``ImportDicomDataRequest``, or several ones."""
        if self._work is None or not self._sources:
            self._sources = _sources_of(self, context)
        uris = self._sources
        folders = sorted({folder_of_import(uri) for uri in uris})
        bodies = [self._body(uri) for uri in uris]
        return Plan(
            method="dicomStores.import",
            name=str(self.store),
            body=bodies[0] if len(bodies) == 1 else {"requests": bodies},
            subject=f"Import of {uris[0] if len(uris) == 1 else f'{uris[0]} and {len(uris) - 1} more'} into {self.store}",
            result={"dicom_store": str(self.store)},
            links={GcsPrefixLink.key: GcsPrefixLink.url(folders[0])},
            inputs=folders,
            outputs=[self.store.uri],
        )

    def _body(self, uri: str) -> dict[str, Any]:
        body: dict[str, Any] = {"gcsSource": {"uri": uri}}
        if self.blob_storage_class is not None:
            body["blobStorageSettings"] = {"blobStorageClass": self.blob_storage_class}
        return body

    def requests(self, plan: Plan) -> Iterable[Request]:
        """Return a request for each URI."""
        for body in plan.body.get("requests", [plan.body]):
            yield Request(plan.method, {"name": plan.name, "body": body})

    def _judge(self, context: Context, plan: Plan, operation: Operation) -> None:
        sample = list_failed_files(self, context, operation, self.failed_uris) if self.failed_uris else ""
        try:
            super()._judge(context, plan, operation)
        except DicomOperationError as error:
            if sample:
                error.args = (f"{error}\n{sample}",)
            raise


def _sources_of(operator: DicomImportOperator, context: Context) -> Sequence[str]:
    """Return what to import, each by an operation.

    :raises DicomArgumentError: no source is given, or two are, or it cannot be read.
    """
    if bool(operator.gcs_uri) == bool(operator.only_failed_of):
        raise DicomArgumentError("An import has one source: give gcs_uri or only_failed_of.")
    if operator.only_failed_of and operator.only_failed_of == operator.failed_uris:
        raise DicomArgumentError(
            f"failed_uris is {operator.failed_uris!r}, which only_failed_of reads: a retry would import what was written there, which "
            "may be a part of it. Write to another object."
        )
    uris = _uris(operator.gcs_uri) if operator.gcs_uri else read_failed_files(operator, operator.only_failed_of)
    if operator.failed_uris and operator.expected_instances is None:
        return left_to_a_retry(operator, context, operator.failed_uris, uris)
    return uris
