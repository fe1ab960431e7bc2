"""Search a DICOM store by DICOMweb, and store instances in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError, DicomPartialFailure
from airflow_dicom.filter_paths import FilterPath
from airflow_dicom.gcs_uris import check_object_uri
from airflow_dicom.links.dicom import DicomStoreLink, FilterFileLink, GcsPrefixLink
from airflow_dicom.operators._connection import NOT_GIVEN, OneOf, as_mapping, check_on_empty, is_nothing, one_or_many
from airflow_dicom.operators._filter_object import bucket_and_name, end_empty, write_paths
from airflow_dicom.operators._store import StoreOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from airflow_dicom.typing import Templated

#: How many matches an XCom may hold.
_MOST = 1000
#: What asks for a part of the matches.
_PAGES = ("limit", "offset")
_LEVELS = {"studies": ("0020000D",), "series": ("0020000D", "0020000E"), "instances": ("0020000D", "0020000E", "00080018")}


def _check_filters(filters: Any) -> None:
    for name, value in as_mapping(filters, "filters").items():
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
        if not values or any(is_nothing(one) for one in values):
            raise DicomArgumentError(
                f"filters is {filters!r} now: a value of nothing, as that of {name}, would match everything."
            )
        if name in _PAGES:
            raise DicomArgumentError(f"filters has {name!r}: all matches are returned, however many; they come in pages.")


class _DicomWebOperator(StoreOperator):
    """An operator that talks DICOMweb to a store."""

    operator_extra_links: Sequence[BaseOperatorLink] = (DicomStoreLink(),)

    def _show(self, context: Context, **urls: str) -> None:
        from airflow_dicom.links import dicom as links

        links.show(self, context, {DicomStoreLink.key: DicomStoreLink.url(self.store), **urls})


class DicomSearchOperator(_DicomWebOperator):
    """Search a DICOM store (QIDO-RS), and return what was found, or write it to a bucket.

    It is for some thousand matches. For more, query the metadata in BigQuery.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicomweb#searching_for_studies_series_instances_and_frames

    :param level: what to look for: ``"studies"``, ``"series"`` or ``"instances"`` (templated)
    :param filters: what they must match: values by keyword or tag, as ``{"Modality": "CT", "StudyDate": "20260101-20261231"}``;
        ``includefield`` names attributes that are returned as well. Left out, everything is found. Given, but rendered to nothing,
        also in one of its values, it is an error (templated)
    :param gcs_uri: the object to write the matches to, a line of DICOM JSON each, instead of returning them (templated)
    :param filter_uri: the filter file to write, a line for each match, instead of returning them (templated)
    :param on_empty: what it means that nothing was found: ``"fail"``, ``"skip"`` or ``"succeed"``, which writes an empty object;
        otherwise an object of an earlier run is removed (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._store.StoreOperator`.
    """

    template_fields: Sequence[str] = ("level", "filters", "gcs_uri", "filter_uri", "on_empty", *StoreOperator.template_fields)
    operator_extra_links = (*_DicomWebOperator.operator_extra_links, GcsPrefixLink(), FilterFileLink())
    checks = {
        "level": OneOf("level", *_LEVELS),
        "filters": _check_filters,
        "gcs_uri": lambda uri: check_object_uri(uri, argument="gcs_uri"),
        "filter_uri": lambda uri: check_object_uri(uri, argument="filter_uri"),
        "on_empty": check_on_empty,
    }

    def __init__(
        self,
        *,
        level: Templated = "studies",
        filters: Mapping[str, Any] | Templated | None = NOT_GIVEN,
        gcs_uri: Templated | None = None,
        filter_uri: Templated | None = None,
        on_empty: Templated = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.level: Any = level
        self.filters: Any
        self._narrow(filters=filters)
        self.gcs_uri: Any = gcs_uri
        self.filter_uri: Any = filter_uri
        self.on_empty: Any = on_empty
        self._check_literals()

    def execute(self, context: Context) -> Any:
        """Return the matches, as a list of DICOM JSON; or the URI of what was written.

        :raises DicomEmptyResult: nothing was found.
        :raises DicomArgumentError: an argument cannot be used, or there are too many matches to return.
        """
        self._check_arguments()
        if self.gcs_uri and self.filter_uri:
            raise DicomArgumentError("Give gcs_uri or filter_uri, not both.")
        self._show(context)
        matches = self.dicomweb.search(str(self.store), f"/{self.level}", self.filters)
        found = list(matches) if self.gcs_uri or self.filter_uri else self._few(matches)
        self.log.info("Found %d %s in %s.", len(found), self.level, self.store)
        if not found and self.on_empty != "succeed":
            end_empty(self, self.gcs_uri or self.filter_uri, f"No {self.level} of {self.store} match {self.filters!r}")
        if self.filter_uri:
            return self._write_filter(context, found)
        return self._write(context, found) if self.gcs_uri else found

    def _few(self, matches: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for match in matches:
            if len(found) == _MOST:
                raise DicomArgumentError(
                    f"There are more than {_MOST} matches: write them to a bucket, by gcs_uri or filter_uri."
                )
            found.append(match)
        return found

    def _write(self, context: Context, found: list[dict[str, Any]]) -> str:
        bucket, name = bucket_and_name(self, self.gcs_uri)
        bucket.blob(name).upload_from_string("".join(f"{json.dumps(match)}\n" for match in found), "application/x-ndjson")
        self._show(context, **{GcsPrefixLink.key: GcsPrefixLink.url(self.gcs_uri.rpartition("/")[0])})
        return str(self.gcs_uri)

    def _write_filter(self, context: Context, found: list[dict[str, Any]]) -> str:
        paths = list(dict.fromkeys(FilterPath(*(match[tag]["Value"][0] for tag in _LEVELS[self.level])) for match in found))
        write_paths(self, context, self.filter_uri, paths)
        self._show(context, **{FilterFileLink.key: FilterFileLink.url(self.filter_uri)})
        return str(self.filter_uri)


class DicomStoreInstancesOperator(_DicomWebOperator):
    """Store a few instances, such as an AI's results, in a DICOM store (STOW-RS). For many, :class:`DicomImportOperator` is the one.

    One that the store has already stays as it is, and does not count as a failure, so that the task can be repeated.

    :param gcs_uris: an object, ``gs://bucket/name``, or a list of them. Airflow's account reads them (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._store.StoreOperator`.
    """

    template_fields: Sequence[str] = ("gcs_uris", *StoreOperator.template_fields)

    def __init__(self, *, gcs_uris: Sequence[str] | Templated, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gcs_uris: Any
        self._narrow(gcs_uris=gcs_uris)

    def execute(self, context: Context) -> dict[str, Any]:
        """Return how many were stored, and how many were there.

        :return: ``{"dicom_store", "stored", "already_there"}``.
        :raises DicomPartialFailure: the store refused some; the others are stored.
        """
        self._check_arguments()
        uris = one_or_many(self.gcs_uris)
        for uri in uris:
            self._check_uri(uri)
        self._show(context)
        became = {uri: self._store_one(uri) for uri in dict.fromkeys(uris)}
        if refused := [uri for uri, how in became.items() if how == "refused"]:
            raise DicomPartialFailure(f"{self.store} refused {len(refused)} of {len(became)} files: {', '.join(refused[:5])}")
        counts = {how: sum(one == how for one in became.values()) for how in ("stored", "already_there")}
        return {"dicom_store": str(self.store), **counts}

    def _check_uri(self, uri: Any) -> None:
        try:
            check_object_uri(uri, argument="gcs_uris")
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error

    def _store_one(self, uri: str) -> str:
        bucket, name = bucket_and_name(self, uri)
        result = self.dicomweb.store(str(self.store), [bucket.blob(name).download_as_bytes()])
        if result.stored:
            return "stored"
        uid = result.refused[0] if result.refused else ""
        there = uid and next(self.dicomweb.search(str(self.store), "/instances", {"SOPInstanceUID": uid}), None)
        return "already_there" if there else "refused"
