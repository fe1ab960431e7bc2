"""The types of arguments, for operators and for those who write DAGs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypedDict

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import XComArg

#: What a templated argument takes: a text, which may hold a template, or what another task returns.
Templated: TypeAlias = "str | XComArg"


class DicomStoreArguments(TypedDict, total=False):
    """The arguments that name a store, as several tasks take them: ``STORE: DicomStoreArguments = {…}``, then ``**STORE``."""

    project_id: Templated
    location: Templated
    dataset_id: Templated
    dicom_store_id: Templated
    dicom_store: Templated
