"""What is written for people stays plain: documentation, docstrings, comments, messages, forms.

A short list of habits that made true sentences hard to read. Quotations of what others say do not have them.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.only_on_newest_airflow  # texts

ROOT = Path(__file__).parents[2]

#: The habit, what it looks like, and what to say instead. Case does not matter.
HABITS = {
    "is no X": (r"(?<!\bthere )\b(?:is|are|was|were) no (?!longer\b|others\b|one\b)", "is not a X"),
    "Page has what …": (r"\]\([^)\s]*\.md[^)\s]*\) (?:has|have) (?!(?:its|their) own\b)", "Page lists, explains or shows …"),
    "has what": (r"\bhas what\b", "lists what …"),
    "N may": (r"\b(?:\d+|0|\}) may\.(?!\w)", "max_failures allows N"),
    "a good answer here": (r"\bis a good answer here\b", "if an empty result is acceptable"),
    "of the wrong form": (r"\bof the wrong form\b", "malformed"),
    "pages of the web": (r"\bpages of the web have\b", "other websites cause a browser to send"),
    "what is to become of": (r"\bis to become of\b", "what to do with"),
    "after all?": (r"^#+ .*\bafter all$", "anyway"),
    "it means": (r"\bhow many \w+ it means\b", "how many … it covers"),
}


def tracked() -> list[Path]:
    """Return the files that are read by people, as git knows them; generated figures and quotations are left out."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    left_out = {"docs/benchmarks-results.md", "tests/unit/test_language.py"}
    wanted = re.compile(r"\.(?:py|md|toml|sh)$|(?:^|/)Makefile$")
    return [ROOT / name for name in names if wanted.search(name) and name not in left_out and (ROOT / name).is_file()]


@pytest.mark.parametrize("habit", HABITS)
def test_no_habit_has_come_back(habit: str):
    pattern, better = HABITS[habit]
    expression = re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    found = []
    for path in tracked():
        text = path.read_text()
        for match in expression.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[line - 1].strip()}")
    assert not found, f"say {better!r}:\n" + "\n".join(found)
