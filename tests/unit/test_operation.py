from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomEmptyResult,
    DicomOperationCancelled,
    DicomOperationError,
    DicomPartialFailure,
    DicomUnexpectedCount,
)
from airflow_dicom.operation import Operation
from airflow_dicom.policy import Policy

NAME = "projects/p/locations/l/datasets/d/operations/1"


def operation(success: int = 0, failure: int = 0, *, error: dict | None = None) -> Operation:
    counter = {"success": str(success), "failure": str(failure)}
    response = {"name": NAME, "done": True, "metadata": {"counter": counter, "logsUrl": "https://logs"}}
    response |= {"error": error} if error else {"response": {}}
    return Operation.from_response(response)


def test_a_fresh_operation_has_a_name_only():
    assert Operation.from_response({"name": NAME}) == Operation(NAME)


def test_counters_come_as_strings_and_zeros_are_left_out():
    read = Operation.from_response({"name": NAME, "metadata": {"counter": {"success": "12", "pending": "3"}}})
    assert read.counters == (12, 0, 3)
    assert not read.done


@given(st.text(max_size=5000), st.text(max_size=3000))
def test_an_operation_stays_small_whatever_the_service_sends(message: str, url: str):
    response = {"name": NAME, "done": True, "metadata": {"logsUrl": url}, "error": {"code": 3, "message": message}}
    read = Operation.from_response(response)
    assert len(read.error_message) <= 500
    assert read.logs_url in ("", url)
    assert Operation(**json.loads(json.dumps(asdict(read)))) == read


PARTIAL = {"code": 3, "message": "importing one or more resources failed"}


@pytest.mark.parametrize("error", [None, PARTIAL], ids=["as response", "as error"])
def test_failed_instances_are_judged_alike_in_both_documented_shapes(error):
    ended = operation(10, 2, error=error)
    with pytest.raises(DicomPartialFailure, match="2 instances failed; max_failures allows 0") as caught:
        Policy().judge(ended, "Import of gs://b/*")
    for part in ("Import of gs://b/*", NAME, "10 done, 2 failed", "https://logs"):
        assert part in str(caught.value)
    assert caught.value.operation == ended
    with pytest.raises(DicomPartialFailure):
        Policy(max_failures=1).judge(ended, "")
    assert Policy(max_failures=2).judge(ended, "")
    assert Policy(max_failures=None).judge(ended, "")


@pytest.mark.parametrize("code", [2, 5, 7, 8, 13, 14])
def test_other_errors_fail_whatever_max_failures_says(code):
    with pytest.raises(DicomOperationError, match=f"code {code}, no right"):
        Policy(max_failures=None).judge(operation(10, 2, error={"code": code, "message": "no right"}), "")


def test_an_error_without_failed_instances_is_an_error():
    with pytest.raises(DicomOperationError, match="code 3"):
        Policy(max_failures=None, on_empty="succeed").judge(operation(error=PARTIAL), "")


def test_cancelled_is_never_success():
    with pytest.raises(DicomOperationCancelled):
        Policy(max_failures=None, on_empty="succeed").judge(operation(5, error={"code": 1, "message": "cancelled"}), "")


def test_on_empty():
    with pytest.raises(DicomEmptyResult):
        Policy().judge(operation(), "")
    assert Policy(on_empty="succeed").judge(operation(), "")
    assert not Policy(on_empty="skip").judge(operation(), "")
    assert Policy(on_empty="skip").judge(operation(1), "")


def test_expected_instances():
    assert Policy(expected_instances=3).judge(operation(3), "")
    assert Policy(expected_instances=3, max_failures=1).judge(operation(2, 1), "")
    for handled in (2, 4):
        with pytest.raises(DicomUnexpectedCount, match=f"{handled} instances were handled; expected_instances is 3"):
            Policy(expected_instances=3).judge(operation(handled), "")


@pytest.mark.parametrize("on_empty", ["skip", "succeed"])
def test_nothing_where_something_was_expected_is_not_an_acceptable_end(on_empty):
    """A task that is skipped takes those after it along, and nobody looks."""
    with pytest.raises(DicomUnexpectedCount, match="0 instances were handled; expected_instances is 3"):
        Policy(on_empty=on_empty, expected_instances=3).judge(operation(), "")
    assert Policy(on_empty=on_empty, expected_instances=0).judge(operation(), "") == (on_empty == "succeed")


def test_a_policy_that_makes_no_sense_is_refused():
    with pytest.raises(DicomArgumentError, match="on_empty is 'explode'"):
        Policy(on_empty="explode")
    with pytest.raises(DicomArgumentError, match="max_failures is -1"):
        Policy(max_failures=-1)


@given(st.integers(0, 50), st.integers(0, 50), st.none() | st.integers(0, 50), st.none() | st.integers(0, 100))
def test_success_means_what_was_asked_for(success, failure, max_failures, expected):
    try:
        good = Policy(max_failures=max_failures, expected_instances=expected).judge(operation(success, failure), "")
    except DicomOperationError:
        good = False
    assert good == (
        success + failure > 0
        and (max_failures is None or failure <= max_failures)
        and (expected is None or success + failure == expected)
    )


def test_progress_tells_the_rate():
    before, now = Operation(NAME, success=10), Operation(NAME, success=40, failure=2, pending=8)
    assert now.progress(before, 8) == "40 done, 2 failed, 8 pending (4.0 instances/s)"


def test_an_error_of_one_is_not_hidden_by_instances_that_failed_in_another():
    nothing_done = operation(error={"code": 3, "message": "no such source"})
    in_part = operation(3, 1, error={"code": 3, "message": "1 failed"})
    assert Policy(max_failures=2).judge(Operation.together([in_part, in_part]), "Import")
    for together in (Operation.together([nothing_done, in_part]), Operation.together([in_part, nothing_done])):
        for seen in (together, Operation.together([together, operation(1)])):
            with pytest.raises(DicomOperationError, match="no such source"):
                Policy(max_failures=1).judge(seen, "Import")
