"""PARSE_DATE, PARSE_TIME, PARSE_DATETIME and PARSE_TIMESTAMP: a text is taken apart as a format says."""

from __future__ import annotations

import datetime
import functools
import re
from typing import NamedTuple

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
#: Elements that are short for others.
LONG = {
    "c": "%a %b %e %H:%M:%S %Y",
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "r": "%I:%M:%S %p",
    "R": "%H:%M",
    "T": "%H:%M:%S",
    "X": "%H:%M:%S",
    "x": "%m/%d/%y",
}
#: Elements that are numbers: their part of a moment, how many digits they have at most, the smallest and the largest.
_NUMBERS = {
    "C": ("century", 3, 0, 100),
    "d": ("day", 2, 1, 31),
    "e": ("day", 2, 1, 31),
    "G": ("ISO year", 20, 0, 99_999),
    "g": ("ISO year", 2, 0, 99),
    "H": ("hour", 2, 0, 23),
    "I": ("hour", 2, 1, 12),
    "j": ("day of year", 3, 1, 366),
    "J": ("ISO day of year", 3, 1, 371),
    "k": ("hour", 2, 0, 23),
    "l": ("hour", 2, 1, 12),
    "M": ("minute", 2, 0, 59),
    "m": ("month", 2, 1, 12),
    "Q": ("quarter", 1, 1, 4),
    "S": ("second", 2, 0, 60),
    "U": ("week", 2, 0, 53),
    "u": ("weekday", 1, 1, 7),
    "V": ("ISO week", 2, 1, 53),
    "W": ("week", 2, 0, 53),
    "w": ("weekday", 1, 0, 6),
    "Y": ("year", 5, 0, 10_000),
    "y": ("short year", 2, 0, 99),
}
#: Numbers before which blanks may be.
_AFTER_BLANKS = "ekIluw"
#: Elements that ``%E`` and ``%O`` do not change.
PLAIN = {"E": "cCxXyY", "O": "deHImMSUuVWwy"}
#: The elements that a type does not have.
_ABSENT = {"DATE": "cHIklMPpRrSsTXZz", "TIME": "AaBbhCcDdeFGgjmsUuVWwxYyZz", "DATETIME": "Zz", "TIMESTAMP": ""}
_OTHERS = {
    "P": "[AaPp][Mm]",
    "p": "[AaPp][Mm]",
    "s": "-[0-9]{1,11}|[0-9]{1,12}",
    "E4Y": "[0-9]{4}",
    "z": "([-+])([01][0-9]|2[0-3])([0-5][0-9])?",
    "Ez": "Z|([-+])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?",
    "Z": r"[^ \t\n\v\f\r]+",
    "%": "%",
}
_SECONDS = re.compile("E[*0-6]S")
_ELEMENT = re.compile(r"%(E\*S|E4Y|E[0-6]S|[EO].|[^nt])|([ \t\n\v\f\r]+|%[nt])|(.)", re.DOTALL)
_SECOND = 1_000_000
_DAY = 24 * 3600 * _SECOND


class _Step(NamedTuple):
    """What a format expects next.

    :param element: the name of an element, ``""`` where there is none.
    :param char: a character that must be there, ``""`` for blanks, which need not be.
    :param is_followed: whether an element comes at once behind this one.
    """

    element: str
    char: str = ""
    is_followed: bool = False


def read(text: str, form: str, kind: str, zone: str) -> str:
    """Return what the clocks show at the moment that a text is, as microseconds since 1970, and where these clocks are.

    :param kind: the type to read, e.g. ``DATE``.
    :param zone: the time zone of the clocks, unless the text says another one.
    :raises ValueError: for a text that does not fit, or a format that the type does not have.
    """
    _check(form, kind)
    reader = _Reader(text.removesuffix("\0"), form.removesuffix("\0"))
    micros = reader.micros()
    room = _DAY if kind == "TIMESTAMP" else 0  # a time zone may bring the moment into the range
    if not _FIRST - room <= micros < _END + room:
        raise ValueError("Invalid result from parsing function")
    return f"{micros % _DAY if kind == 'TIME' else micros} {reader.zone or zone}"


@functools.lru_cache(maxsize=64)
def _check(form: str, kind: str) -> None:
    """Refuse a format with an element that a type does not have."""
    for match in _ELEMENT.finditer(form):
        if match[3] == "%":
            raise ValueError("Format string cannot end with a single '%'")
        if match[1] and match[1][-1] in _ABSENT[kind]:
            raise ValueError(f"Invalid format: %{match[1]} is not allowed for the {kind} type.")


@functools.lru_cache(maxsize=64)
def _steps(form: str) -> list[_Step]:
    steps = []
    for match in _ELEMENT.finditer(form):
        element = match[1] or ""
        if len(element) == 2 and element[1] in PLAIN.get(element[0], ""):
            element = element[1]
        steps.append(_Step(element, match[3] or "", is_followed=form.startswith("%", match.end())))
    return steps


def _ordinal(year: int, month: int, day: int) -> int:
    """Return the number of a day, also in the years 0 and 10000.

    :raises ValueError: for a day that does not exist.
    """
    cycles, rest = divmod(year, 400)
    try:
        return datetime.date(2000 + rest, month, day).toordinal() + (cycles - 5) * 146_097
    except ValueError:
        raise ValueError("Out-of-range datetime field in parsing function") from None


_EPOCH = _ordinal(1970, 1, 1)
_FIRST = (_ordinal(1, 1, 1) - _EPOCH) * _DAY
_END = (_ordinal(10_000, 1, 1) - _EPOCH) * _DAY


class _Reader:
    """Takes a text apart. What it does not say is that of the first moment of 1970."""

    def __init__(self, text: str, form: str) -> None:
        self._text, self._form, self._place = text, form, 0
        #: The number of the element at hand, and for each part of a moment its value and the number of its element.
        self._element = 0
        self._parts: dict[str, tuple[int, int]] = {}
        self._is_short_year = self._is_half_day = self._is_afternoon = False
        self._first_weekday = 0
        self._fraction = 0
        self._epoch: int | None = None
        self.zone = ""
        self._read()

    def _read(self) -> None:
        steps = _steps(self._form)
        self._skip_blanks()
        for place, step in enumerate(steps):
            if self._place == len(self._text):
                if any(rest.char or rest.element for rest in steps[place:]):
                    raise self._failure()
                return
            self._element += 1
            if step.element in LONG:
                for part in _steps(LONG[step.element]):
                    self._take_step(part, is_in_long=step.element != "r")
            else:
                self._take_step(step)
        self._skip_blanks()
        if self._place < len(self._text):
            raise self._failure()

    def _failure(self) -> ValueError:
        return ValueError(f'Failed to parse input string "{self._text}"')

    def _skip_blanks(self) -> None:
        self._match(r"[ \t\n\v\f\r]*")

    def _match(self, pattern: str) -> re.Match[str]:
        match = re.compile(pattern).match(self._text, self._place)
        if match is None:
            raise self._failure()
        self._place = match.end()
        return match

    def _take_step(self, step: _Step, *, is_in_long: bool = False) -> None:
        name = step.element
        if name in _NUMBERS:
            self._take_number(step, is_in_long=is_in_long)
        elif name in ("A", "a"):
            self._put("weekday", self._named(DAYS))
        elif name in ("B", "b", "h"):
            self._put("month", self._named(MONTHS))
        elif _SECONDS.fullmatch(name):
            self._take_seconds(name[1])
        elif name in _OTHERS:
            self._take_other(name)
        elif name or (is_in_long and not self._text.startswith(step.char, self._place)):
            raise self._failure()
        elif step.char:
            self._take_char(step.char)
        else:
            self._skip_blanks()

    def _take_char(self, char: str) -> None:
        found = self._text[self._place : self._place + 1]
        if found != char:
            raise ValueError(
                f"Mismatch between format character '{char}' and string character '{found}' at string index: "
                f"{len(self._text[: self._place].encode())} with format: '{self._form}'"
            )
        self._place += 1

    def _take_number(self, step: _Step, *, is_in_long: bool) -> None:
        part, width, low, high = _NUMBERS[step.element]
        if step.element in ("Y", "C") and (step.is_followed or is_in_long):
            width, high = width - 1, high - 1
        if is_in_long or step.element in _AFTER_BLANKS:
            self._skip_blanks()
        value = int(self._match(f"[0-9]{{1,{width}}}")[0])
        if not low <= value <= high:
            raise self._failure()
        if part == "hour":
            self._is_half_day = step.element in ("I", "l")
            value = value % 12 if self._is_half_day else value
        elif step.element == "g":
            value += _century_of(value) * 100
        elif part == "week":
            self._first_weekday = 0 if step.element == "U" else 1
        self._put(part, value)

    def _put(self, part: str, value: int) -> None:
        """Note the value of a part."""
        if part == "quarter":
            self._put("month", value * 3 - 2)
            part, value = "day", 1
        elif part == "year":
            self._is_short_year = False
            self._parts.pop("century", None)
        elif part == "short year":
            part, self._is_short_year = "year", True
        elif part == "century":
            self._parts["year"] = self._value("year", 0) if self._is_short_year else 0, self._element
            self._is_short_year = True
        self._parts[part] = value, self._element

    def _value(self, part: str, default: int) -> int:
        return self._parts[part][0] if part in self._parts else default

    def _number(self, part: str) -> int:
        """Return the number of the element that a part comes from, 0 if none has it."""
        return self._parts[part][1] if part in self._parts else 0

    def _named(self, names: tuple[str, ...]) -> int:
        """Take a name, whole or its first three letters, and return its place."""
        found = self._match(f"(?ai:{'|'.join(f'{name}|{name[:3]}' for name in names)})")[0].lower()
        return next(place for place, name in enumerate(names, start=1) if name.startswith(found))

    def _take_seconds(self, digits: str) -> None:
        """Take seconds with at most so many digits behind the point, ``*`` for all that are there."""
        self._take_number(_Step("S"), is_in_long=False)
        if digits != "0":
            found = self._match(rf"(?:\.([0-9]{'+' if digits == '*' else f'{{1,{digits}}}'}))?")[1]
            self._fraction = int(found[:6].ljust(6, "0")) if found else self._fraction

    def _take_other(self, name: str) -> None:
        found = self._match(_OTHERS[name])
        if name in ("P", "p"):
            self._is_afternoon = found[0] in ("PM", "pm", "Pm", "pM")
        elif name == "s":
            self._epoch = int(found[0])
        elif name == "E4Y":
            self._put("year", int(found[0]))
        elif name == "Z":
            self.zone = found[0]
        elif name in ("z", "Ez"):
            self._take_offset(found)

    def _take_offset(self, found: re.Match[str]) -> None:
        hours, minutes = int(found[2] or 0), int(found[3] or 0)
        self.zone = f"{found[1] or '+'}{hours:02}:{minutes:02}"
        if hours * 60 + minutes > 14 * 60:
            raise ValueError(f"Timezone offset out of valid range -14:00 to +14:00: {self.zone}")

    def micros(self) -> int:
        """Return the moment.

        :raises ValueError: when there is no such day.
        """
        if self._epoch is not None:
            self.zone = "UTC"
            return self._epoch * _SECOND
        hour = self._value("hour", 0) + (12 if self._is_half_day and self._is_afternoon else 0)
        second = self._value("second", 0)
        seconds = (hour * 60 + self._value("minute", 0)) * 60 + second
        return (self._day() - _EPOCH) * _DAY + seconds * _SECOND + (self._fraction if second < 60 else 0)

    def _day(self) -> int:
        """Return the number of the day."""
        of_calendar = {"year", "month", "day", "week", "day of year"}
        if "ISO year" in self._parts and not of_calendar & self._parts.keys():
            return self._day_of_iso_year()
        year, month, day = self._value("year", 1970), self._value("month", 1), self._value("day", 1)
        if self._is_short_year:
            year += self._value("century", _century_of(year)) * 100
        part = self._rather("day of year", "week")
        if part is None:
            return _ordinal(year, month, day)
        number = self._day_of_year(year) if part == "day of year" else self._day_of_week(year)
        if not 1 <= number < _ordinal(10_000, 1, 1):
            raise ValueError("Out-of-range datetime field in parsing function")
        moved = datetime.date.fromordinal(number)
        # The last element that says something of a part decides.
        last = self._number(part)
        return _ordinal(
            moved.year if self._number("year") < last else year,
            moved.month if self._number("month") < last else month,
            moved.day if self._number("day") < last else day,
        )

    def _rather(self, day: str, week: str) -> str | None:
        """Return which of two parts counts, the later one; a week together with a weekday only."""
        has_weekday = "weekday" in self._parts
        if day in self._parts and (not has_weekday or self._number(day) > self._number(week)):
            return day
        if week in self._parts and has_weekday:
            raise ValueError("The emulator's PARSE functions take no weekday (%A, %a, %u, %w) together with a week (%U, %V, %W)")
        return week if week in self._parts else None

    def _day_of_year(self, year: int) -> int:
        day = self._value("day of year", 1)
        first = _ordinal(year, 1, 1)
        if first + day > _ordinal(year, 12, 31) + 1:
            raise ValueError(f"Year {year} has 365 days, but the specified day of year was {day}")
        return first + day - 1

    def _day_of_week(self, year: int) -> int:
        """Return the first day of a week; the days before a year's first Sunday or Monday are in its week 0."""
        week, first = self._value("week", 0), _ordinal(year, 1, 1)
        start = first + (self._first_weekday - first) % 7
        last = 53 if _ordinal(year, 12, 31) + 1 - start > 364 else 52
        if not (1 if start == first else 0) <= week <= last:
            raise ValueError(f"Week number {week} is invalid for year {year}")
        return start + 7 * (week - 1)

    def _day_of_iso_year(self) -> int:
        year = self._value("ISO year", 1970)
        part = self._rather("ISO day of year", "ISO week")
        if part == "ISO week":
            raise ValueError("The emulator's PARSE functions do not take an ISO week (%V) together with an ISO year (%G, %g)")
        first, day = _first_of_iso_year(year), self._value("ISO day of year", 1)
        count = _first_of_iso_year(year + 1) - first
        if day > count:
            raise ValueError(f"ISO Year {year} has {count} days, but the specified day of year was {day}")
        return first + day - 1


def _first_of_iso_year(year: int) -> int:
    """Return the number of the Monday of the week with January 4."""
    fourth = _ordinal(year, 1, 4)
    return fourth - (fourth - 1) % 7


def _century_of(short_year: int) -> int:
    return 19 if short_year > 68 else 20
