"""Literals as GoogleSQL has them: escape sequences, raw texts and bytes, numbers."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from tests.bigquery.conftest import value_of


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r"'\x41\X42\103'", "ABC"),
        (r"'\u2168\U0001F600'", "\u2168\U0001f600"),
        (r"'\a\b\f\n\r\t\v\\\?\"\'\`'", "\a\b\f\n\r\t\v\\?\"'`"),
        (r"r'\d\n'", r"\d\n"),
        ("'''a'b\nc'''", "a'b\nc"),
        (r"b'\xff\x00\101\n'", b"\xff\x00A\n"),
        ("b'é'", "é".encode()),
        (r"b'\xe9é'", b"\xe9" + "é".encode()),
        (r"rb'\xff'", rb"\xff"),
        ('Br"""é"""', "é".encode()),
        (r"""JSON r'{"a": "\u0041"}'""", {"a": "A"}),
        ("'\\x00' = CHR(0)", True),
        ("LENGTH(CHR(0))", 1),
        ("+x", 3),
        ("+ - x", -3),
    ],
)
def test_literals(client: bigquery.Client, literal: str, value: Any) -> None:
    ((found,),) = [tuple(row) for row in client.query_and_wait(f"SELECT {literal} FROM (SELECT 3 AS x)")]
    assert found == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (r"REGEXP_CONTAINS('1', '\d')", r"Illegal escape sequence: \\d at \[1:30\]"),
        (r"'\8'", "Illegal escape sequence"),
        (r"'\x4'", "Illegal escape sequence"),
        (r"'\u12'", "Illegal escape sequence"),
        (r"'\ud800'", "Illegal escape sequence"),
        (r"'\U00110000'", "Illegal escape sequence"),
        (r"b'\u0041'", "Illegal escape sequence"),
        (r"1 AS `a\q`", "Illegal escape sequence"),
        ("'a\nb'", "Unclosed string literal"),
        ("0b11", "Missing whitespace between literal and alias"),
        ("1a", "Missing whitespace between literal and alias"),
        ("+'a'", "No matching signature"),
        ("1 LIMIT 1, 2", "Unexpected"),
    ],
)
def test_what_is_no_literal(client: bigquery.Client, expression: str, message: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        value_of(client, expression)


def test_names_with_digits(client: bigquery.Client) -> None:
    with pytest.raises(exceptions.NotFound, match="Dataset my-project-1a:d"):
        client.query_and_wait("SELECT * FROM my-project-1a.d.t", job_retry=None)
