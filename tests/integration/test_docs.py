"""The blocks that need an Airflow with data, and the DAGs, of all pages, in one Airflow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo.data import Cloud
from demo.stack import Stack

from .doc_blocks import BLOCKS, Block, run
from .runs import run_to_success, wait_for_success

pytestmark = pytest.mark.only_on_newest_airflow

DAGS = [block for block in BLOCKS if block.what == "dag"]
IN_DEMO = [block for block in BLOCKS if block.what == "demo"]


@pytest.fixture(scope="module")
def demo_data(stack: Stack) -> None:
    """What a reader has who has pressed a few buttons in ``make ui``: instances in the store, and their metadata."""
    for dag_id in ("dicom_import", "dicom_metadata_to_bigquery"):
        run_to_success(stack, dag_id)


@pytest.mark.parametrize("block", IN_DEMO, ids=str)
def test_in_demo(block: Block, stack: Stack, cloud: Cloud, demo_data: None, tmp_path: Path) -> None:
    if block.language == "sql":
        assert list(cloud.bigquery().query_and_wait(block.text))
    else:
        run(block, tmp_path, stack.environment)


def dag_id_of(block: Block) -> str:
    [dag_id] = re.findall(r'DAG\(\s*"(\w+)"', block.text)
    return str(dag_id)


@pytest.fixture(scope="module")
def runs(stack: Stack, demo_data: None) -> dict[str, str]:
    """The ids of the DAGs' runs, which go on side by side."""
    for block in DAGS:
        (stack.dags / f"{dag_id_of(block)}.py").write_text(block.text)
    ids = [dag_id_of(block) for block in DAGS]
    for dag_id in ids:
        stack.api.wait_for_dag(dag_id)
    return {dag_id: stack.api.trigger(dag_id) for dag_id in ids}


@pytest.mark.parametrize("block", DAGS, ids=str)
def test_dag(block: Block, stack: Stack, runs: dict[str, str]) -> None:
    dag_id = dag_id_of(block)
    wait_for_success(stack, dag_id, runs[dag_id])
