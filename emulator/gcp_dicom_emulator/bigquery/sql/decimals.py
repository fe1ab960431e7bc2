"""What NUMERICs and BIGNUMERICs make, exactly: DuckDB calculates with FLOAT64s, or with integers that are too small.

BigQuery's BIGNUMERIC has 38 digits behind the point, the emulator's 18: a result that would lose some is refused.
"""

from __future__ import annotations

import decimal
import math
import operator
import re
from collections.abc import Callable, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

#: How many digits each type has behind the point.
_SCALES = {"NUMERIC": 9, "BIGNUMERIC": 38}
_LARGEST = {
    "NUMERIC": Decimal("99999999999999999999999999999.999999999"),
    "BIGNUMERIC": Decimal("578960446186580977117854925043439539266.34992332820282019728792003956564819967"),
}
#: What DuckDB's DECIMAL(38, 18) holds.
_KEPT, _LARGEST_KEPT = Decimal("1e-18"), Decimal("1e20")

_WRITTEN = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")

#: More digits than a product of two has.
_CONTEXT = decimal.Context(prec=160)


def calculated(operation: str, kind: str, operands: Sequence[str | None], is_safe: bool) -> str | None:
    """Return the result of an operation, rounded as BigQuery rounds it: half away from zero.

    :param operation: ``*``, ``/``, or the name of a function.
    :param kind: the result's type.
    :param is_safe: whether an error of the query is NULL.
    :raises ValueError: an error of the query; or the emulator cannot hold the result.
    """
    if None in operands:
        return None
    with decimal.localcontext(_CONTEXT):
        try:
            made = _rounded(operation, kind, [Decimal(operand) for operand in operands if operand is not None])
        except ValueError:
            if is_safe:
                return None
            raise
        if kind == "BIGNUMERIC" and (abs(made) >= _LARGEST_KEPT or made % _KEPT):
            raise ValueError("The emulator's BIGNUMERIC has 38 digits, 18 of them behind the point.")
        return f"{made:f}"


def bignumeric(text: str, is_safe: bool) -> str | None:
    """Return the BIGNUMERIC that a text is, in digits, as ``CAST`` reads it.

    :raises ValueError: as :func:`calculated` does.
    """
    if _WRITTEN.fullmatch(text) is None:
        if is_safe:
            return None
        raise ValueError(f"Invalid BIGNUMERIC value: {text}")
    return calculated("CAST", "BIGNUMERIC", [text.strip()], is_safe)


def bignumeric_of_real(number: float, is_safe: bool) -> str | None:
    """Return the BIGNUMERIC that a FLOAT64 is, in digits.

    :raises ValueError: as :func:`calculated` does.
    """
    if math.isfinite(number):
        return calculated("CAST", "BIGNUMERIC", [f"{Decimal(number):f}"], is_safe)
    if is_safe:
        return None
    raise ValueError(f"Illegal conversion of non-finite floating point number to BIGNUMERIC: {number}")


def _rounded(operation: str, kind: str, numbers: Sequence[Decimal]) -> Decimal:
    try:
        made = _OPERATIONS[operation](*numbers).quantize(Decimal(1).scaleb(-_SCALES[kind]), ROUND_HALF_UP)
    except ArithmeticError:
        made = None
    if made is None or abs(made) > _LARGEST[kind]:
        raise ValueError(f"numeric overflow, or an argument out of range: {operation} of {', '.join(map(str, numbers))}")
    return made


def _quotient(number: Decimal, divisor: Decimal) -> Decimal:
    if not divisor:
        raise ValueError("division by zero")
    return number / divisor


def _square_root(number: Decimal) -> Decimal:
    if number < 0:
        raise ValueError("Argument to SQRT cannot be negative")
    return number.sqrt()


def _logarithm(number: Decimal, base: Decimal) -> Decimal:
    return number.log10() if base == 10 else number.ln() / base.ln()


def _power(number: Decimal, exponent: Decimal) -> Decimal:
    return number**exponent if exponent else Decimal(1)


_OPERATIONS: dict[str, Callable[..., Decimal]] = {
    "*": operator.mul,
    "/": _quotient,
    "CAST": operator.pos,
    "DIV": lambda number, divisor: _quotient(number, divisor).to_integral_value(ROUND_DOWN),
    "EXP": Decimal.exp,
    "LN": Decimal.ln,
    "LOG": _logarithm,
    "POW": _power,
    "SQRT": _square_root,
}
