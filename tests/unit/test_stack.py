"""What the demo's processes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.stack import Stack


def test_case_2_a_company_s_proxy_does_not_come_between(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.com")
    stack = Stack(tmp_path)
    try:
        assert [stack.environment[name] for name in ("NO_PROXY", "no_proxy")] == ["example.com,127.0.0.1"] * 2
    finally:
        stack.stop()
