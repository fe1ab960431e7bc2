from __future__ import annotations

import pytest

from airflow_dicom.gcs_uris import check_import_uri, check_object_uri, folder_of_import, parse_gs_uri


@pytest.mark.parametrize(
    "uri", ["gs://b/a.dcm", "gs://b/*", "gs://b/*/*", "gs://b/d/Example?.dcm", "gs://b/**", "gs://b/d/**.dcm", "gs://b/**.dcm.gz"]
)
def test_what_the_documentation_allows_is_allowed(uri):
    check_import_uri(uri)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("b/a.dcm", "must be a Cloud Storage URI"),
        ("s3://b/a.dcm", "must be a Cloud Storage URI"),
        ("gs://", "must be a Cloud Storage URI"),
        ("gs://b", "a folder alone names no object"),
        ("gs://b/folder/", "a folder alone names no object: add a wildcard, such as gs://b/folder/**."),
        ("gs://b*/x", "not of the bucket's"),
        ("gs://b/**/x.dcm", "must be at the end"),
        ("gs://b/*/**", "with no other wildcard"),
        ("gs://b/?/**.dcm", "with no other wildcard"),
        ("gs://b/**x", "must be at the end"),
        ("gs://b/***", "must be at the end"),
        ("gs://b/**.d?m", "must be at the end"),
    ],
)
def test_what_it_forbids_is_refused_with_a_reason(uri, says):
    with pytest.raises(ValueError, match=says.replace("*", r"\*").replace("?", r"\?")):
        check_import_uri(uri)


def test_parse_gs_uri():
    assert parse_gs_uri("gs://b/x/y z", argument="x") == ("b", "x/y z")
    assert parse_gs_uri("gs://b", argument="x") == ("b", "")


@pytest.mark.parametrize("uri", ["gs://b", "gs://b/", "gs://b/x/", "gs://b/*.txt", "/x"])
def test_a_filter_is_one_object(uri):
    with pytest.raises(ValueError, match="filter_uri is"):
        check_object_uri(uri, argument="filter_uri")


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("gs://b/a.dcm", "gs://b"),
        ("gs://b/**", "gs://b"),
        ("gs://b/in/a.dcm", "gs://b/in"),
        ("gs://b/in/**", "gs://b/in"),
        ("gs://b/in/CT_*.dcm", "gs://b/in"),
        ("gs://b/in/*/x?.dcm", "gs://b/in"),
        ("gs://b/in.v2/?", "gs://b/in.v2"),
    ],
)
def test_the_folder_of_an_import_holds_all_that_its_uri_means(uri, folder):
    assert folder_of_import(uri) == folder
