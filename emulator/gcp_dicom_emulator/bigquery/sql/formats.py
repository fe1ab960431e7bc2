"""FORMAT and CAST … FORMAT in Python: what DuckDB's printf and strftime do not write."""

from __future__ import annotations

import base64
import decimal
import json
import math
import re
from collections.abc import Callable
from typing import Any

_SPECIFIER = re.compile(r"%(?P<flags>[-+ #0']*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d*))?(?P<kind>.)", re.DOTALL)

#: A type as :func:`described` writes it: its name, its elements' type, or its fields' types.
Described = list[Any]


def formatted(form: str, kinds: str, values: list[str]) -> str | None:
    """Return FORMAT.

    :param kinds: the types of the values, as JSON.
    :param values: the values as GoogleSQL's JSON.
    :return: ``None`` when a value is NULL that ``%t`` and ``%T`` do not write.
    :raises ValueError: for a format that does not fit.
    """
    rest = [(kind, _decoded(kind, json.loads(value))) for kind, value in zip(json.loads(kinds), values, strict=True)]
    is_null = False

    def take(what: str) -> tuple[Described, Any]:
        if not rest:
            raise ValueError(f'Too few arguments to FORMAT for pattern "{form}"{what}')
        return rest.pop(0)

    def put(match: re.Match[str]) -> str:
        nonlocal is_null
        if match["kind"] == "%":
            return "%"
        numbers = [take("")[1] if match[name] == "*" else match[name] for name in ("width", "precision")]
        kind, value = take("")
        if value is None and match["kind"] not in "tT":
            is_null = True
            return ""
        if any(number is None and match[name] == "*" for name, number in zip(("width", "precision"), numbers, strict=True)):
            is_null = True
            return ""
        width, precision = (None if number in (None, "") else int(number) for number in numbers)
        if match["precision"] == "":
            precision = 0
        if precision is not None and precision < 0:
            precision = None
        return _put(match["kind"], match["flags"], width, precision, kind, value)

    written = _SPECIFIER.sub(put, form)
    if re.search(r"%$", _SPECIFIER.sub("", form)):
        raise ValueError(f'Invalid format string "{form}": it ends with %')
    if rest:
        raise ValueError(f'Too many arguments to FORMAT for pattern "{form}"')
    return None if is_null else written


def _decoded(kind: Described, value: Any) -> Any:
    if value is None:
        return None
    name = kind[0]
    if name == "ARRAY":
        return [_decoded(kind[1], item) for item in value]
    if name == "STRUCT":
        return value
    if name == "FLOAT64":
        return float(value)
    if name == "INT64":
        return int(value)
    if name in ("NUMERIC", "BIGNUMERIC"):
        return decimal.Decimal(str(value))
    return base64.b64decode(value) if name == "BYTES" else value


def _put(form: str, flags: str, width: int | None, precision: int | None, kind: Described, value: Any) -> str:
    name = kind[0]
    if form in "di" and name == "INT64":
        text = _grouped(f"{value:{_signs(flags)}d}", flags)
    elif form in "oxX" and name == "INT64":
        text = _based(form, flags, value)
    elif form in "fFeEgG" and name in ("FLOAT64", "NUMERIC", "BIGNUMERIC"):
        text = _real(form, flags, precision, value)
    elif form == "s" and name == "STRING":
        text = value if precision is None else value[:precision]
    elif form in "tT":
        text = _literal(kind, value) if form == "T" else _printed(kind, value)
        text = text if precision is None else text[:precision]
    elif form in "pP" and name == "JSON":
        text = json.dumps(
            value, indent=2 if form == "P" else None, separators=None if form == "P" else (",", ":"), ensure_ascii=False
        )
    else:
        raise ValueError(f"Invalid type for argument to FORMAT: %{form} does not take {name}")
    if width is None:
        return text
    if width < 0 or "-" in flags:
        return text.ljust(abs(width))
    if "0" in flags and form in "dioxXfFeEgG" and (name != "FLOAT64" or math.isfinite(value)):
        sign = text[:1] if text[:1] in "+- " else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _based(form: str, flags: str, value: int) -> str:
    """Return a whole number in the base of 8 or 16, with groups of four digits if the flags say so."""
    digits = f"{abs(value):{form}}"
    if "'" in flags:
        separator = "," if form == "o" else ":"
        digits = re.sub(r"\B(?=(?:\w{4})+$)", separator, digits)
    sign = "-" if value < 0 else _signs(flags)
    return sign + ({"o": "0", "x": "0x", "X": "0X"}[form] if "#" in flags and value else "") + digits


def _signs(flags: str) -> str:
    return "+" if "+" in flags else " " if " " in flags else ""


def _real(form: str, flags: str, precision: int | None, value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        text = "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        return text.upper() if form.isupper() else text
    text = f"{value:{_signs(flags)}{'#' if '#' in flags else ''}.{6 if precision is None else precision}{form}}"
    # The exponent has two digits at least, also that of a Decimal.
    return _grouped(re.sub(r"([eE][-+])(\d)$", r"\g<1>0\2", text), flags)


def _grouped(text: str, flags: str) -> str:
    if "'" not in flags:
        return text
    return re.sub(r"\d+", lambda match: f"{int(match[0]):,}", text, count=1)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return repr(value)


def _printed(kind: Described, value: Any) -> str:
    """Return what ``%t`` writes."""
    name = kind[0]
    if value is None:
        return "NULL"
    if name == "ARRAY":
        return "[" + ", ".join(_printed(kind[1], item) for item in value) + "]"
    if name == "BOOL":
        return "true" if value else "false"
    if name == "FLOAT64":
        return _number(value)
    if name in ("NUMERIC", "BIGNUMERIC"):
        return f"{value:f}"
    if name == "BYTES":
        return _escaped_bytes(value).replace("'", "\\'").replace('"', '\\"')
    if name == "JSON":
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if name == "DATETIME":
        return str(value).replace("T", " ")
    if name == "TIMESTAMP":
        return str(value).replace("T", " ").replace("Z", "+00")
    return str(value)


def _literal(kind: Described, value: Any) -> str:
    """Return what ``%T`` writes: a literal."""
    name = kind[0]
    if value is None:
        return "NULL"
    if name == "ARRAY":
        return "[" + ", ".join(_literal(kind[1], item) for item in value) + "]"
    if name == "STRING":
        return _quoted(value)
    if name == "BYTES":
        text = _escaped_bytes(value)
        return f"b'{text}'" if '"' in text and "'" not in text else 'b"' + text.replace('"', '\\"') + '"'
    if name == "FLOAT64" and not math.isfinite(value):
        return f'CAST("{_number(value)}" AS FLOAT64)'
    if name in ("DATE", "DATETIME", "TIME", "TIMESTAMP", "NUMERIC", "BIGNUMERIC"):
        return f'{name} "{_printed(kind, value)}"'
    if name == "JSON":
        return f"JSON {_quoted(_printed(kind, value))}"
    return _printed(kind, value)


def _quoted(text: str) -> str:
    escapes = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    quote = "'" if '"' in text and "'" not in text else '"'
    escapes[quote] = "\\" + quote
    return quote + "".join(escapes.get(char, char if char.isprintable() else f"\\x{ord(char):02x}") for char in text) + quote


def _escaped_bytes(data: bytes) -> str:
    escapes = {92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t"}
    return "".join(escapes.get(byte, chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data)


# CAST … FORMAT of bytes


def text_of_bytes(data: bytes, form: str) -> str:
    """Return ``CAST(data AS STRING FORMAT form)``.

    :raises ValueError: for another format, or bytes that are not of it.
    """
    writers: dict[str, Callable[[bytes], str]] = {
        "HEX": lambda value: value.hex(),
        "BASE2": lambda value: "".join(f"{byte:08b}" for byte in value),
        "BASE8": _octal,
        "BASE16": lambda value: value.hex(),
        "BASE32": lambda value: base64.b32encode(value).decode(),
        "BASE64": lambda value: base64.b64encode(value).decode(),
        "BASE64M": lambda value: "\n".join(re.findall(".{1,76}", base64.b64encode(value).decode())),
        "ASCII": lambda value: value.decode("ascii"),
        "UTF-8": lambda value: value.decode(),
        "UTF8": lambda value: value.decode(),
    }
    if form.upper() not in writers:
        raise ValueError(f"Invalid format '{form}'; the formats of BYTES are {', '.join(writers)}")
    try:
        return writers[form.upper()](data)
    except UnicodeDecodeError as error:
        raise ValueError(f"Failed to cast BYTES to STRING with format {form}: {error}") from error


def _octal(data: bytes) -> str:
    digits = math.ceil(len(data) * 8 / 3)
    shift = digits * 3 - len(data) * 8
    return f"{int.from_bytes(data) << shift:0{digits}o}" if data else ""


def bytes_of_text(text: str, form: str) -> bytes:
    """Return ``CAST(text AS BYTES FORMAT form)``.

    :raises ValueError: for another format, or a text that is not of it.
    """
    readers: dict[str, Callable[[str], bytes]] = {
        "HEX": lambda value: bytes.fromhex(value.rjust(len(value) + len(value) % 2, "0")),
        "BASE2": lambda value: _packed(value, 2, 1),
        "BASE8": lambda value: _packed(value, 8, 3),
        "BASE16": lambda value: bytes.fromhex(value.rjust(len(value) + len(value) % 2, "0")),
        "BASE32": base64.b32decode,
        "BASE64": lambda value: base64.b64decode(value, validate=True),
        "BASE64M": lambda value: base64.b64decode(re.sub(r"\s", "", value), validate=True),
        "ASCII": lambda value: value.encode("ascii"),
        "UTF-8": str.encode,
        "UTF8": str.encode,
    }
    if form.upper() not in readers:
        raise ValueError(f"Invalid format '{form}'; the formats of BYTES are {', '.join(readers)}")
    try:
        return readers[form.upper()](text)
    except ValueError as error:
        raise ValueError(f"Failed to cast STRING to BYTES with format {form}: {error}") from error


def _packed(text: str, base: int, bits: int) -> bytes:
    if not text:
        return b""
    size = len(text) * bits // 8
    value = int(text, base) >> len(text) * bits - size * 8
    return value.to_bytes(size)


# CAST … FORMAT of dates and times

_ELEMENTS = re.compile(
    r"YYYY|RRRR|YYY|YY|RR|Y|MONTH|MON|MM|MI|DDD|DD|DAY|DY|D|HH24|HH12|HH|"
    r'SSSSS|SS|FF[1-9]|A\.M\.|P\.M\.|AM|PM|TZH|TZM|"[^"]*"|[-./,\'; :]',
    re.IGNORECASE,
)
_DAYS = ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")
_MONTHS = (
    "JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER",
)  # fmt: skip


#: The elements that a DATE and a TIME have nothing for; DATETIME and TIMESTAMP have all.
_TIME_ELEMENTS = re.compile(r"HH24|HH12|HH|MI|SSSSS|SS|FF[1-9]|A\.M\.|P\.M\.|AM|PM", re.IGNORECASE)
_DATE_ELEMENTS = re.compile(r"YYYY|RRRR|YYY|YY|RR|Y|MONTH|MON|MM|DDD|DD|DAY|DY|D", re.IGNORECASE)


def text_of_moment(moment: str, form: str, kind: str) -> str:
    """Return ``CAST(moment AS STRING FORMAT form)`` of a DATE, DATETIME or TIME.

    :param moment: year, month, day, day of the week (Sunday is 1), day of the year, hour, minute, second, microsecond, and how many
        minutes its time zone is before UTC.
    :param kind: its type.
    :raises ValueError: for an element that is not known, or not there.
    """
    values = [int(part) for part in moment.split()]
    absent = {"DATE": _TIME_ELEMENTS, "TIME": _DATE_ELEMENTS}.get(kind)
    written, place = "", 0
    while place < len(form):
        match = _ELEMENTS.match(form, place)
        if match is None:
            raise ValueError(f"The emulator's CAST does not know the format '{form[place:]}'")
        if kind != "TIMESTAMP" and match[0].upper().startswith("TZ"):
            raise ValueError(f"{kind} does not support '{match[0].upper()}'")
        if absent is not None and absent.fullmatch(match[0]):
            raise ValueError(f"{kind} does not support '{match[0].upper()}'")
        written += _element(match[0], *values)
        place = match.end()
    return written


_NUMBER = re.compile(r"FM|MI|PR|[09.,DG$LCSB]", re.IGNORECASE)
#: Formats with elements of numbers that the emulator does not write: hexadecimal, exponents, the shortest text, Roman, scaled.
OTHER_NUMBERS = re.compile(r"(FM|MI|PR|EEEE|TM[9E]?|RN|[09.,DG$LCSBXV])+", re.IGNORECASE)


def text_of_number(value: str, form: str, kind: str) -> str:
    """Return ``CAST(value AS STRING FORMAT form)`` of a number.

    :param kind: its type.
    :raises ValueError: for a format that is wrong, or has elements that are not known.
    """
    elements, place = [], 0
    while place < len(form):
        match = _NUMBER.match(form, place)
        if value in ("nan", "inf", "-inf") or (match is None and OTHER_NUMBERS.fullmatch(form)):
            raise ValueError(f"The emulator's CAST of {value} does not do the format '{form}'")
        if match is None:
            raise ValueError(f"Invalid format element '{form[place]}'")
        elements.append(match[0] if match[0] in "cC" else match[0].upper())
        place = match.end()
    for several in (".D", "$LCc", ("S", "MI", "PR"), "B", ("FM",)):
        if sum(one in several for one in elements) > 1:
            raise ValueError(f"The format '{form}' has more than one of {', '.join(several)}")
    if "0" not in elements and "9" not in elements:
        raise ValueError("Format string must contain at least one of 'X', '0' or '9'")
    point = next((at for at, one in enumerate(elements) if one in ".D"), len(elements))
    before = [one for one in elements[:point] if one in "09,G"]
    behind = sum(one in "09" for one in elements[point:])
    if any(one in ",G" for one in elements[point:]) or before[:1] in ([","], ["G"]):
        raise ValueError(f"The format '{form}' has a group separator where none may be")
    if kind == "FLOAT64":
        digits = f"{abs(float(value)):.{behind}f}"
    else:
        digits = str(abs(decimal.Decimal(value)).quantize(decimal.Decimal(1).scaleb(-behind), decimal.ROUND_HALF_UP))
    whole, _, fraction = digits.partition(".")
    whole = whole.lstrip("0")
    is_negative = value.startswith("-") and bool(digits.strip("0."))
    return _number_text(elements, before, whole, fraction, point, is_negative=is_negative)


def _number_text(elements: list[str], before: list[str], whole: str, fraction: str, point: int, *, is_negative: bool) -> str:
    """Put a number's digits into the places of a format.

    :param before: the elements of its whole part.
    :param whole: the digits before the point; none for 0.
    :param point: the place of the decimal point among the elements.
    """
    is_compact, is_blank = "FM" in elements, "B" in elements and not whole
    is_full = len(whole) > sum(one in "09" for one in before)
    if is_compact:
        fraction = fraction.rstrip("0")
    first_zero = before.index("0") if "0" in before else len(before)
    text, at, digits = "", len(before), whole or "0"
    if whole or "0" in before or not fraction:
        while at > 0 and (digits or at > first_zero):
            at -= 1
            if before[at] in ",G":
                text = "," + text
            else:
                text = ("#" if is_full else digits[-1] if digits else "0") + text
                digits = digits[:-1]
    if point < len(elements):
        text += "." + ("#" * len(fraction) if is_full else fraction)
    currency = next(({"C": "USD", "c": "usd"}.get(one, "$") for one in elements if one in "$LCc"), "")
    prefix, suffix = "-" if is_negative else " ", ""
    if "S" in elements:
        sign = "-" if is_negative else "+"
        is_first = elements.index("S") < min(elements.index(one) for one in "09" if one in elements)
        prefix, suffix = (sign, "") if is_first else ("", sign)
    elif "MI" in elements:
        prefix, suffix = "", prefix
    elif "PR" in elements:
        prefix, suffix = ("<", ">") if is_negative else (" ", " ")
    made = " " * at + prefix + currency + text + suffix
    made = " " * len(made) if is_blank else made
    return made.strip() if is_compact else made


def _element(
    element: str,
    year: int,
    month: int,
    day: int,
    weekday: int,
    yearday: int,
    hour: int,
    minute: int,
    second: int,
    micros: int,
    ahead: int,
) -> str:
    name = element.upper()
    plain = {
        "YYYY": f"{year:04d}", "RRRR": f"{year:04d}", "YYY": f"{year % 1000:03d}",
        "YY": f"{year % 100:02d}", "RR": f"{year % 100:02d}",
        "Y": f"{year % 10}", "MM": f"{month:02d}", "DDD": f"{yearday:03d}", "DD": f"{day:02d}", "D": f"{weekday}",
        "HH24": f"{hour:02d}", "HH12": f"{(hour + 11) % 12 + 1:02d}", "HH": f"{(hour + 11) % 12 + 1:02d}", "MI": f"{minute:02d}",
        "SSSSS": f"{hour * 3600 + minute * 60 + second:05d}", "SS": f"{second:02d}",
        "TZH": f"{'-' if ahead < 0 else '+'}{abs(ahead) // 60:02d}", "TZM": f"{abs(ahead) % 60:02d}",
    }  # fmt: skip
    if name in plain:
        return plain[name]
    if name.startswith("FF"):
        return f"{micros:06d}000"[: int(name[2])]
    words = {
        "MONTH": _MONTHS[month - 1].ljust(9),
        "MON": _MONTHS[month - 1][:3],
        "DAY": _DAYS[weekday - 1].ljust(9),
        "DY": _DAYS[weekday - 1][:3],
    }
    half = "A" if hour < 12 else "P"
    words |= dict.fromkeys(("AM", "PM"), f"{half}M") | dict.fromkeys(("A.M.", "P.M."), f"{half}.M.")
    if name in words:
        word = words[name]
        return word if element[:2].isupper() else word.capitalize() if element[0].isupper() else word.lower()
    return element[1:-1] if element.startswith('"') else element
