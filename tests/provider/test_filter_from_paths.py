from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_dicom.exceptions import DicomArgumentError, DicomEmptyResult
from airflow_dicom.operators import FilterFileFromPathsOperator

URI = "gs://target/from-paths.txt"


def task(paths, **changes) -> FilterFileFromPathsOperator:
    return FilterFileFromPathsOperator(**({"task_id": "t", "filter_uri": URI, "paths": paths} | changes))


@pytest.mark.parametrize(
    ("paths", "lines"),
    [
        ("/studies/1\r\n\n  /studies/2/series/3  \n/studies/1\n", ["/studies/1", "/studies/2/series/3"]),
        (
            ["/studies/1", ["2", "3"], ("4", "5", "6"), ["1"]],
            ["/studies/1", "/studies/2/series/3", "/studies/4/series/5/instances/6"],
        ),
    ],
)
def test_a_line_each_once(seeded, runner, paths, lines):
    assert runner.run(task(paths)) == URI
    assert seeded.storage.objects.get("target", "from-paths.txt").path.read_text().splitlines() == lines
    assert runner.ti.xcoms["path_count"] == len(lines)
    assert runner.ti.xcoms["expected_instances"] is None
    assert runner.ti.xcoms["filter_file"]["bytes"] == sum(len(line) + 1 for line in lines)


def test_instances_are_counted(seeded, runner):
    runner.run(task([["1", "2", "3"], ["1", "2", "4"], ["1", "5", "6"]]))
    summary = runner.ti.xcoms["filter_file"]
    assert (summary["studies"], summary["series"], summary["instances"]) == (1, 2, 3)
    assert runner.ti.xcoms["expected_instances"] == 3


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ("/studies/1\n/studies/x", "item 2: .*'x' is not a UID"),
        (["studies/1"], "item 1: 'studies/1' is not a DICOM resource path"),
        ([["1", "2", "3", "4"]], "item 1"),
        ([["1.02"]], "leading zeros"),
        ([7], "item 1"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(seeded, runner, paths, says):
    with pytest.raises(DicomArgumentError, match=says):
        runner.run(task(paths, filter_uri="gs://target/never.txt"))
    assert not seeded.storage.objects.list("target", prefix="never.txt")


@pytest.mark.parametrize("paths", ["", "\n \n", []])
def test_no_paths(seeded, runner, paths):
    seeded.storage.objects.put_bytes("target", "from-paths.txt", b"/studies/1\n")
    with pytest.raises(DicomEmptyResult, match="there are no paths"):
        runner.run(task(paths))
    with pytest.raises(AirflowSkipException):
        runner.run(task(paths, on_empty="skip"))
    assert not seeded.storage.objects.list("target", prefix="from-paths.txt"), "what another run has selected"
    assert runner.run(task(paths, on_empty="succeed")) == URI
    assert seeded.storage.objects.get("target", "from-paths.txt").path.read_bytes() == b""


def test_a_file_beside_the_dag_is_included_and_the_uri_is_no_file(tmp_path):
    from airflow.providers.common.compat.sdk import DAG

    (tmp_path / "cohort.txt").write_text("/studies/1\n/studies/2\n")
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)) as dag:
        included = task("{% include 'cohort.txt' %}")
    included.render_template_fields({"dag": dag}, included.get_template_env())
    assert included.paths.split() == ["/studies/1", "/studies/2"]
    assert included.filter_uri == URI
