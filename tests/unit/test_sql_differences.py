"""The script that writes how much of other people's SQL the emulator answers as BigQuery does."""

from __future__ import annotations

import json
from pathlib import Path

from tests.scripts import load

SCRIPT = Path(__file__).parents[2] / "docs" / "sql_differences.py"


def test_the_table_counts_what_is_in_scope(tmp_path: Path) -> None:
    script = load(SCRIPT)
    cases = [
        {"category": "queries", "verdict": "same"},
        {"category": "DML, run one by one", "verdict": "same"},
        {"category": "queries", "verdict": "wrong"},
        {"category": "queries", "verdict": "refused-501", "message": "The emulator cannot run this query: syntax error"},
        {"category": "DDL", "verdict": "setup-400", "message": "no"},
        {"category": "geography", "verdict": "refused-501", "message": "The emulator has no geography"},
    ]
    path = tmp_path / "details.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    table = script.compared({"recorded": script.cases(path)})
    assert "| recorded | 5 | 2 (40.0%) | 1 | 1 | 1 |" in table
    assert table.endswith("* 1: The emulator cannot run this query.")
