"""CAST … FORMAT of a STRING to a date or time: the text of a moment is taken apart as a format says."""

from __future__ import annotations

import datetime
import functools
import re

_LITERALS = r"""-./,';:"""
_ELEMENT = re.compile(
    r'Y,YYY|YYYY|YYY|YY|Y|RRRR|RR|MONTH|MON|MM|MI|DD|HH24|HH12|HH|SSSSS|SS|FF[1-9]|A\.M\.|P\.M\.|TZH|TZM|"(?:\\["\\]|[^"\\])*"| +|'
    rf"[{_LITERALS}]",
    re.IGNORECASE,
)
#: Elements that formats have, but only when a text is made by them.
_WRITTEN_ONLY = re.compile(
    r"IYYY|IYY|IY|IW|I|SYYYY|YEAR|SYEAR|RM|DDD|DAY|DY|D|J|AM|PM|S?CC|Q|WW|W|AD|BC|A\.D\.|B\.C\.|SP|TH|FM", re.IGNORECASE
)
#: What of each kind a format has once at most.
_KINDS = {
    "year": ("Y,YYY", "YYYY", "YYY", "YY", "Y", "RRRR", "RR"),
    "month": ("MM", "MON", "MONTH"),
    "day": ("DD",),
    "hour": ("HH24", "HH12", "HH"),
    "minute": ("MI",),
    "second": ("SS",),
    "second of the day": ("SSSSS",),
    "fraction": tuple(f"FF{digits}" for digits in range(1, 10)),
    "meridian indicator": ("A.M.", "P.M."),
    "hour of the time zone": ("TZH",),
    "minute of the time zone": ("TZM",),
}
_OF_DATES, _OF_ZONES = ("year", "month", "day"), ("hour of the time zone", "minute of the time zone")
_OF_CLOCKS = ("hour", "minute", "second", "second of the day", "fraction", "meridian indicator")
#: The kinds that a type has nothing for.
_ABSENT = {"DATE": (*_OF_CLOCKS, *_OF_ZONES), "TIME": (*_OF_DATES, *_OF_ZONES), "DATETIME": _OF_ZONES, "TIMESTAMP": ()}
#: The types whose values are read.
TYPES = tuple(_ABSENT)
_MONTHS = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
]


def has_zone(form: str) -> bool:
    """Say whether a format has the offset of a time zone."""
    return any(_kind_of(element) in _OF_ZONES for element in _elements(form))


def check(form: str, kind: str) -> None:
    """Refuse a format that no text can be read by.

    :param kind: the type to read, e.g. ``DATE``.
    :raises ValueError: for what is not a format, or has an element that the type lacks.
    """
    found: dict[str, str] = {}
    for element in _elements(form):
        part = _kind_of(element)
        if part is None:
            continue
        if part in _ABSENT[kind]:
            raise ValueError(f"Format element in category {part} ('{element}') is not allowed for output type {kind}")
        if part in found:
            raise ValueError(f"More than one format element for the {part}: '{found[part]}' and '{element}'")
        found[part] = element
    has_indicator, hour = "meridian indicator" in found, found.get("hour")
    if has_indicator != (hour in ("HH", "HH12")):
        raise ValueError("A format with HH or HH12 needs a meridian indicator (A.M. or P.M.), and only such a one has it")
    if "second of the day" in found and found.keys() & {"hour", "minute", "second"}:
        raise ValueError("A format with SSSSS has no hour, minute and second")


def read(text: str, form: str, kind: str, is_safe: bool) -> str | None:
    """Return the moment that a text is, in ISO 8601 without the T; that of a format with a time zone is in UTC.

    :param kind: the type to read.
    :param is_safe: whether a text that does not fit is ``None``.
    :raises ValueError: for a text that does not fit.
    """
    try:
        return _read(text, form, kind)
    except ValueError:
        if is_safe:
            return None
        raise


def _read(text: str, form: str, kind: str) -> str:
    match = _pattern(form).fullmatch(text.strip())
    if match is None:
        raise ValueError(f"Failed to parse input string \"{text}\" with the format '{form}'")
    parts = {name: value for name, value in match.groupdict().items() if value is not None}
    now = datetime.datetime.now(datetime.UTC)
    hour = int(parts.get("HH24", 0))
    if "HH" in parts:
        if not 1 <= int(parts["HH"]) <= 12:
            raise ValueError(f'The hour of "{text}" is not one of twelve')
        hour = int(parts["HH"]) % 12 + (12 if parts["AM"].upper() == "P.M." else 0)
    seconds = int(parts.get("SSSSS", 0))
    if seconds >= 24 * 60 * 60 or int(parts.get("SS", 0)) > 59:
        raise ValueError(f'"{text}" is not a time of a day')
    moment = datetime.datetime(
        _year(parts, now.year),
        _month(parts, now.month),
        int(parts.get("DD", 1)),
        hour,
        int(parts.get("MI", 0)),
        int(parts.get("SS", 0)),
        int(parts.get("FF", "0")[:6].ljust(6, "0")),
    )
    moment += datetime.timedelta(seconds=seconds)
    if has_zone(form):
        minutes = int(parts.get("TZH", "+0")[1:]) * 60 + int(parts.get("TZM", 0))
        if minutes > 14 * 60 or int(parts.get("TZM", 0)) > 59:
            raise ValueError(f'The time zone of "{text}" is out of range')
        moment -= datetime.timedelta(minutes=-minutes if parts.get("TZH", "+").startswith("-") else minutes)
    if kind == "DATE":
        return moment.date().isoformat()
    return moment.time().isoformat() if kind == "TIME" else moment.isoformat(" ")


def _year(parts: dict[str, str], current: int) -> int:
    """Return the year: of the current one what the text leaves out."""
    if "YYYY" in parts:
        return int(parts["YYYY"].replace(",", ""))
    if "RR" in parts:
        year = int(parts["RR"])
        return current // 100 * 100 + year + 100 * ((current % 100 >= 50) - (year >= 50))
    size, digits = next(((10**size, parts[name]) for size, name in ((3, "YYY"), (2, "YY"), (1, "Y")) if name in parts), (1, "0"))
    return int(current - current % size + int(digits))


def _month(parts: dict[str, str], current: int) -> int:
    if "MON" in parts:
        return [name[:3] for name in _MONTHS].index(parts["MON"][:3].upper()) + 1
    return int(parts.get("MM", current))


def _elements(form: str) -> list[str]:
    found, place = [], 0
    while place < len(form):
        written = _WRITTEN_ONLY.match(form, place)
        match = _ELEMENT.match(form, place)
        if written is not None and (match is None or match.end() < written.end()):
            raise ValueError(f"Format element '{written[0]}' is not supported for parsing")
        if match is None:
            raise ValueError(f"Cannot find matched format element in '{form[place:]}'")
        found.append(match[0])
        place = match.end()
    return found


def _kind_of(element: str) -> str | None:
    """Return which part of a moment an element is, ``None`` for a literal."""
    return next((kind for kind, elements in _KINDS.items() if element.upper() in elements), None)


@functools.lru_cache(maxsize=64)
def _pattern(form: str) -> re.Pattern[str]:
    """Return the regular expression of the texts that a format reads. What it has taken it does not give back."""
    elements, pattern = _elements(form), ""
    for place, element in enumerate(elements):
        pattern += _expression(element, is_followed=_begins_with_digit(elements[place + 1 :]))
    return re.compile(pattern, re.IGNORECASE)


def _begins_with_digit(elements: list[str]) -> bool:
    for element in elements:
        if element.startswith('"'):
            if element != '""':
                return element[1].isdigit()
        else:
            return _kind_of(element) is not None and element.upper() not in ("MON", "MONTH", "A.M.", "P.M.", "TZH")
    return False


def _expression(element: str, *, is_followed: bool) -> str:
    """Return the regular expression of an element.

    :param is_followed: whether a digit comes next, so that all digits must be there.
    """
    name = element.upper()
    if name.startswith('"'):
        literal = re.sub(r"\\(.)", r"\1", element[1:-1])
        return f"(?-i:{re.escape(literal)})"
    if name.startswith(" "):
        return r"\s++"
    if name in _LITERALS:
        return re.escape(name)
    if name == "Y,YYY":
        return "(?P<YYYY>[0-9]{1,2}+,[0-9]{3})"
    if name in ("YYYY", "RRRR"):
        return f"(?P<YYYY>[0-9]{'{4}' if is_followed else '{1,5}+'})"
    if name in ("MON", "MONTH"):
        return f"(?P<MON>{'|'.join(month[:3] if name == 'MON' else month for month in _MONTHS)})"
    if name in ("A.M.", "P.M."):
        return r"(?P<AM>[AP]\.M\.)"
    digits = int(name[2]) if name.startswith("FF") else 2 if name[:2] in ("HH", "TZ") else len(name)
    count = f"{{{digits}}}" if is_followed else f"{{1,{digits}}}+"
    group = "FF" if name.startswith("FF") else "HH" if name == "HH12" else name
    return f"(?P<{group}>{'[-+ ]' if name == 'TZH' else ''}[0-9]{count})"
