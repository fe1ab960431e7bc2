"""DICOM stores as assets, through Airflow's own provider manager."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import Asset

from airflow_dicom.assets import convert_asset_to_openlineage, dicom_store_asset, sanitize_uri

STORE = {"project_id": "demo", "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}
URI = "dicomstore://demo/us-central1/radiology/images"


@pytest.mark.parametrize(
    "uri",
    [
        URI,
        f"{URI}/",
        "dicomstore://projects/demo/locations/us-central1/datasets/radiology/dicomStores/images",
        "DICOMSTORE://demo/us-central1/radiology/images",
    ],
)
def test_all_ways_to_write_it_are_one_asset(uri):
    assert Asset(uri=uri).uri == dicom_store_asset(**STORE).uri == URI


@pytest.mark.parametrize(
    "uri",
    [
        "dicomstore://demo",
        "dicomstore://demo/us-central1/radiology",
        f"{URI}/studies",
        "dicomstore://projects/demo/locations/us-central1/datasets/radiology",
        "dicomstore://demo//radiology/images",
        f"{URI}?version=1",
        f"{URI}#now",
    ],
)
def test_what_names_no_store_is_refused(uri):
    with pytest.raises(ValueError, match=r"DICOM store|is ''"):
        sanitize_uri(urlsplit(uri))


def test_a_part_that_no_name_has_is_refused():
    with pytest.raises(ValueError, match=r"dicom_store_id is 'a/b'"):
        dicom_store_asset(**{**STORE, "dicom_store_id": "a/b"})


def test_openlineage_names_it_as_the_operators_do():
    dataset = convert_asset_to_openlineage(Asset(uri=URI), lineage_context=None)
    assert (dataset.namespace, dataset.name) == ("dicomstore", "demo/us-central1/radiology/images")
