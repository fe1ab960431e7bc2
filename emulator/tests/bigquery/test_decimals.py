"""NUMERIC and BIGNUMERIC: exact, whatever is calculated; where the emulator's BIGNUMERIC is too narrow, it says so."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from hypothesis import given
from hypothesis import strategies as st

from gcp_dicom_emulator.bigquery.sql import decimals
from tests.bigquery.conftest import value_of

_NUMERICS = st.decimals("-99999999999999999999999999999", "99999999999999999999999999999", places=9).map(str)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("NUMERIC '99999999999999999999999999999' / 3", "33333333333333333333333333333"),
        ("NUMERIC '123456789012' * NUMERIC '1234567890123'", "152415787531905209728476"),
        ("SAFE_MULTIPLY(NUMERIC '123456789012', NUMERIC '1234567890123')", "152415787531905209728476"),
        ("SAFE_MULTIPLY(NUMERIC '99999999999999999999999999999', 10)", None),
        ("SAFE_DIVIDE(NUMERIC '123456789012345.123456789', NUMERIC '1.123456789')", "109890109010988.515604394"),
        ("SAFE_DIVIDE(NUMERIC '1', 0)", None),
        ("NUMERIC '1' / CAST(NULL AS NUMERIC)", None),
        ("DIV(NUMERIC '-7.5', 2)", "-3"),
        ("SAFE.DIV(NUMERIC '1', 0)", None),
        ("SQRT(NUMERIC '12345678901234567890123456789')", "111111110611111.109936111"),
        ("SAFE.SQRT(NUMERIC '-1')", None),
        ("SQRT(NUMERIC '2') + 1", "2.414213562"),
        ("EXP(NUMERIC '40')", "235385266837019985.407899911"),
        ("LN(NUMERIC '2')", "0.693147181"),
        ("LOG(NUMERIC '8', 2)", "3"),
        ("LOG10(NUMERIC '1000')", "3"),
        ("POW(NUMERIC '12345678901234', 2)", "152415787532374345526722756"),
        ("POW(NUMERIC '0', 0)", "1"),
        ("(SELECT SUM(x * x) / 3 FROM UNNEST([NUMERIC '1.5', NULL]) x)", "0.75"),
        ("(SELECT COUNT(*) FROM UNNEST([NUMERIC '1', 2, 2]) x GROUP BY x / 3 HAVING MAX(x * 3) > 5)", "2"),
        ("(SELECT RANK() OVER (ORDER BY x * 2 / 3) FROM UNNEST([NUMERIC '1']) x)", "1"),
        ("(SELECT AVG(x) FROM UNNEST([BIGNUMERIC '1', BIGNUMERIC '2']) x)", "1.5"),
        ("BIGNUMERIC '12345678901234567890' * BIGNUMERIC '1.5'", "18518518351851851835"),
        ("BIGNUMERIC '1' / 8", "0.125"),
        ("DIV(BIGNUMERIC '7.5', 2)", "3"),
        ("PARSE_BIGNUMERIC(' - 12.34 ')", "-12.34"),
        ("SAFE_CAST('one' AS BIGNUMERIC)", None),
        ("CAST(0.5 AS BIGNUMERIC)", "0.5"),
    ],
)
def test_what_is_calculated_is_exact(client: bigquery.Client, expression: str, value: str | None) -> None:
    assert value_of(client, expression) == (None if value is None else Decimal(value))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("NUMERIC '1' / 0", "division by zero"),
        ("NUMERIC '99999999999999999999999999999' * 10", "overflow"),
        ("POW(NUMERIC '10', 40)", "overflow"),
        ("POW(NUMERIC '-2', NUMERIC '0.5')", "out of range"),
        ("SQRT(NUMERIC '-1')", "cannot be negative"),
        ("LN(NUMERIC '0')", "out of range"),
        ("LOG(NUMERIC '8', 1)", "out of range"),
        ("CAST('one' AS BIGNUMERIC)", "Invalid BIGNUMERIC value: one"),
        ("CAST(IEEE_DIVIDE(0, 0) AS BIGNUMERIC)", "non-finite"),
    ],
)
def test_what_cannot_be_calculated_is_an_error(client: bigquery.Client, expression: str, message: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        value_of(client, expression)


@pytest.mark.parametrize(
    "expression",
    [
        "BIGNUMERIC '1' / 3",
        "SAFE_DIVIDE(BIGNUMERIC '1', 3)",
        "SQRT(BIGNUMERIC '2')",
        "SAFE.SQRT(BIGNUMERIC '2')",
        "BIGNUMERIC '0.0000000001' * BIGNUMERIC '0.0000000001'",
        "BIGNUMERIC '0.1234567890123456789'",
        "CAST(0.1234567890123456789 AS BIGNUMERIC)",
        "CAST(-1e-29 AS BIGNUMERIC)",
        "SAFE_CAST('0.1234567890123456789' AS BIGNUMERIC)",
        "PARSE_BIGNUMERIC('0.1234567890123456789')",
        "(SELECT CAST(x AS BIGNUMERIC) FROM UNNEST([0.1]) x)",
        "BIGNUMERIC '1234567890123456789012'",
    ],
)
def test_more_digits_than_the_emulator_keeps_are_refused(client: bigquery.Client, expression: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="BIGNUMERIC has 38 digits, 18 of them behind the point"):
        value_of(client, expression)


@given(_NUMERICS, _NUMERICS)
def test_products_and_quotients_are_those_of_fractions(one: str, other: str) -> None:
    exact = {"*": Fraction(one) * Fraction(other)} | ({"/": Fraction(one) / Fraction(other)} if Fraction(other) else {})
    for operation, value in exact.items():
        units = abs(value) * 10**9
        rounded = (2 * units.numerator + units.denominator) // (2 * units.denominator)
        expected = None if rounded >= 10**38 else Fraction(rounded if value > 0 else -rounded, 10**9)
        found = decimals.calculated(operation, "NUMERIC", [one, other], True)
        assert (None if found is None else Fraction(found)) == expected
