from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_dicom.store_metrics import Arrival, Counts, with_integers

numbers = st.integers(0, 5)
counts = st.builds(Counts, numbers, numbers, numbers)


def test_the_api_sends_texts_and_leaves_out_zeros() -> None:
    metrics = {"name": "projects/p", "studyCount": "3", "instanceCount": "12", "blobStorageSizeBytes": "9007199254740993"}
    assert Counts.of(metrics) == Counts(3, 0, 12)
    assert with_integers(metrics) == {
        "name": "projects/p",
        "studyCount": 3,
        "instanceCount": 12,
        "blobStorageSizeBytes": 9007199254740993,
    }


@given(st.lists(st.tuples(counts, st.floats(0, 10)), min_size=1), counts, st.none() | st.floats(0, 10))
def test_it_is_over_when_there_is_enough_and_nothing_has_changed_for_so_long(
    seen: list[tuple[Counts, float]], least: Counts, still_for: float | None
) -> None:
    arrival, now, history = Arrival(least, still_for), 0.0, []
    for found, pause in seen:
        now += pause
        history.append((now, found))
        same = [when for when, one in reversed(history)]
        for index, (_, one) in enumerate(reversed(history)):
            if one != found:
                same = same[:index]
                break
        enough = min(found.studies - least.studies, found.series - least.series, found.instances - least.instances) >= 0
        still = still_for is None or now - same[-1] >= still_for
        assert arrival.is_over(found, now) == (enough and still)
