"""What a task checks that a person had to approve."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError, DicomNotApproved, HealthcareApiError
from airflow_dicom.filter_paths import FilterPath, outermost
from airflow_dicom.operators._filter_object import SUMMARY_KEY, FilterObject, read_lines

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.hooks.dicomweb import DicomWebHook
    from airflow_dicom.operators._filtered import FilteredOperator

#: What a person has chosen who approves, in Airflow's words.
APPROVE = "Approve"

_METRICS = {"study": "studies.getStudyMetrics", "series": "studies.series.getSeriesMetrics"}
_NOT_FOUND = 404
_SOP_INSTANCE_UID = "00080018"


def check_approval(operator: FilteredOperator, context: Context, task_id: str, *, has_begun: bool = False) -> None:
    """Refuse unless a person approved what the operator is about to do, and the store is still as the person was told.

    Whether Airflow skips what comes after a rejection depends on trigger rules and mapping, so the task looks itself.

    :param task_id: the task that has asked.
    :param has_begun: whether an earlier try has begun to remove it, so that the store may hold less than the person was told. Then the
        filter must name instances: to a study or a series, others may have come that the person was not told of.
    :raises DicomArgumentError: that task is not right before this one, or there is no filter.
    :raises DicomNotApproved: nobody has approved, or something else was approved.
    """
    if not isinstance(task_id, str) or task_id not in operator.upstream_task_ids:
        raise DicomArgumentError(f"approved_by is {task_id!r}; it must be a task right before this one.")
    if not operator.filter_uri:
        raise DicomArgumentError(f"approved_by is {task_id!r}, and there is no filter_uri: only a filter can be approved.")
    answer = context["ti"].xcom_pull(task_ids=task_id, key="return_value")
    shown = context["ti"].xcom_pull(task_ids=task_id, key=SUMMARY_KEY)
    # The list of a mapped task is not the answer of anyone.
    if not isinstance(answer, Mapping) or answer.get("chosen_options") != [APPROVE] or not isinstance(shown, Mapping):
        raise DicomNotApproved(f"Nothing was sent: {task_id} was not approved. Its answer is {answer!r}.")
    if shown["filter_uri"] != operator.filter_uri:
        raise DicomNotApproved(f"Nothing was sent: {task_id} was about {shown['filter_uri']}, not {operator.filter_uri}.")
    if (now := FilterObject.read(operator, operator.filter_uri).generation) != shown["generation"]:
        raise DicomNotApproved(
            f"Nothing was sent: {operator.filter_uri} was replaced after {task_id} had shown it (generation {shown['generation']}, "
            f"now {now}). Clear {task_id}, and it asks again."
        )
    if has_begun and not all(FilterPath.parse(line).instance for line in _lines(operator, now)):
        raise DicomNotApproved(
            f"Nothing was sent: an earlier try has begun to remove what was approved in {task_id}, and {operator.filter_uri} names "
            "studies or series: what has come to them since cannot be told from what was approved. Make the filter again, and clear "
            f"{task_id} with it: it asks again."
        )
    count = count_in_store(operator.dicomweb, str(operator.store), _lines(operator, now))
    if count > shown["instances"] or (count < shown["instances"] and not has_begun):
        raise DicomNotApproved(
            f"Nothing was sent: {task_id} was approved with {shown['instances']} instances; {operator.store} now holds {count} of "
            f"what {operator.filter_uri} names. Make the filter again, and clear {task_id} with it: it asks again."
        )
    operator.log.info("Approved in %s: %d instances of %s.", task_id, count, operator.filter_uri)


def _lines(operator: FilteredOperator, generation: str) -> Iterable[str]:
    assert operator.filter_uri is not None
    return read_lines(operator, operator.filter_uri, generation)


def count_in_store(hook: DicomWebHook, store: str, lines: Iterable[str]) -> int:
    """Return how many instances a store holds now of what a filter names: a request for each study, or for each series.

    :param store: the store's name.
    :param lines: those of the filter.
    """
    count, by_series = 0, defaultdict[FilterPath, set[str]](set)
    for path in outermost(FilterPath.parse(line) for line in lines):
        if path.instance is not None:
            by_series[FilterPath(path.study, path.series)].add(path.instance)
        else:
            count += _count_below(hook, store, path)
    return count + sum(len(wanted & _instances(hook, store, series)) for series, wanted in by_series.items())


def _count_below(hook: DicomWebHook, store: str, path: FilterPath) -> int:
    method = f"dicomStores.dicomWeb.{_METRICS[path.level]}"
    try:
        parameters: dict[str, Any] = {path.level: f"{store}/dicomWeb{path}"}
        metrics = hook.call(method, **parameters)
    except HealthcareApiError as error:
        if error.status_code != _NOT_FOUND:
            raise
        return 0
    return int(metrics.get("instanceCount") or 0)


def _instances(hook: DicomWebHook, store: str, series: FilterPath) -> set[str]:
    try:
        return {str(one[_SOP_INSTANCE_UID]["Value"][0]) for one in hook.search(store, f"{series}/instances")}
    except HealthcareApiError as error:
        if error.status_code != _NOT_FOUND:
            raise
        return set()
