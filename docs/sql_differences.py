"""Write how much of other people's SQL the emulator answers as BigQuery does into ``reference/sql-differences.md``.

The corpora are not in this repository. Whoever has them, and a program that runs them, gives what it found: a file for each corpus
with a line of JSON for each case, which has its ``category``, its ``verdict`` (``same``, ``refused-501``, ``wrong`` …) and what the
emulator said as ``message``::

    python docs/sql_differences.py "results recorded from BigQuery"=recorded.jsonl "GoogleSQL's compliance tests"=compliance.jsonl
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "reference" / "sql-differences.md"
_BEGIN, _END = "<!-- written by docs/sql_differences.py -->", "<!-- end -->"

#: What a query on DICOM metadata can use; the emulator has no geography, no routines, no models.
_IN_SCOPE = {"queries", "JSON type", "analytic functions", "DML", "DDL"}
#: How many of the reasons of refusals are listed.
_REASONS = 20


def cases(path: Path) -> list[dict[str, Any]]:
    """Return the cases of a file that are in scope."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [case for case in found if case["category"].removesuffix(", run one by one") in _IN_SCOPE]


def compared(corpora: dict[str, list[dict[str, Any]]]) -> str:
    """Return the table of the corpora, and why cases were refused."""
    lines = [
        "| compared with | cases | the same | refused with 501 | refused with 400 | otherwise |",
        "|---|---|---|---|---|---|",
    ]
    reasons: Counter[str] = Counter()
    for name, found in corpora.items():
        verdicts = Counter(case["verdict"] for case in found)
        not_done = verdicts["refused-501"] + verdicts["setup-501"]
        not_taken = verdicts["refused-400"] + verdicts["setup-400"]
        same = verdicts["same"]
        share = f"{same} ({same / max(len(found), 1):.1%})"
        lines.append(
            f"| {name} | {len(found)} | {share} | {not_done} | {not_taken} | {len(found) - same - not_done - not_taken} |"
        )
        reasons.update(reason(case["message"]) for case in found if case["verdict"].endswith("-501"))
    if reasons:
        lines += ["", "What was refused with 501, and how often:", ""]
    return "\n".join(lines + [f"* {count}: {text}" for text, count in reasons.most_common(_REASONS)])


def reason(message: str) -> str:
    """Return what a message says without what it says of the one case."""
    first = message.splitlines()[0]
    first = re.sub(r"(This|The emulator cannot (?:run|translate) this query): .*", r"\1.", first)
    return re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", "…", first) if len(first) > 100 else first


def main() -> None:
    """Write the page's part."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    corpora = {name: cases(Path(path)) for name, _, path in (argument.rpartition("=") for argument in sys.argv[1:])}
    text = PAGE.read_text()
    begin, end = text.index(_BEGIN) + len(_BEGIN), text.index(_END)
    PAGE.write_text(f"{text[:begin]}\n{compared(corpora)}\n{text[end:]}")


if __name__ == "__main__":
    main()
