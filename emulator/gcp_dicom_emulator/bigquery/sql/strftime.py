"""FORMAT_DATE, FORMAT_TIME, FORMAT_DATETIME and FORMAT_TIMESTAMP: a moment is written as a format says."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from gcp_dicom_emulator.bigquery.sql.strptime import DAYS, LONG, MONTHS, PLAIN

_ELEMENT = re.compile(r"%([-_0^#]+[A-Za-z]|E\*S|E4Y|E[0-9]S|[EO]?.)", re.DOTALL)
#: The elements that a type does not have, which are written as they are.
_ABSENT = {"DATE": "cHIklMPpRrSsTXZz", "TIME": "AaBbhCcDdeFGgJjmQsUuVWwxYyZz", "DATETIME": "Zz", "TIMESTAMP": ""}
_EPOCH = datetime.datetime(1970, 1, 1)


def write(micros: int, ahead: int, form: str, kind: str) -> str:
    """Return the text of a moment.

    :param micros: what the clocks show, as microseconds since 1970.
    :param ahead: how many minutes these clocks are ahead of UTC.
    :param kind: the type of the moment, e.g. ``DATE``.
    :raises ValueError: for a moment that is out of range, or a format that the emulator does not have.
    """
    try:
        moment = _EPOCH + datetime.timedelta(microseconds=micros)
    except OverflowError:
        raise ValueError("The year of a date or time is not one of 1 to 9999") from None

    def written(match: re.Match[str]) -> str:
        name = match[1]
        if re.match("[-_0^#]+[A-Za-z]", name):
            raise ValueError(f"The emulator's formats of dates and times have no {match[0]}.")
        if name[-1] in _ABSENT[kind]:
            return match[0]
        if len(name) == 2 and name[1] in PLAIN.get(name[0], ""):
            name = name[1]
        if name in LONG:
            return _ELEMENT.sub(written, LONG[name])
        if name == "s":
            return str(micros // 1_000_000 - ahead * 60)
        if name in _OFFSETS:
            return _OFFSETS[name](ahead)
        if re.fullmatch("E[*0-9]S", name):
            return _seconds(moment, name[1])
        return _ELEMENTS[name](moment) if name in _ELEMENTS else match[0]

    return _ELEMENT.sub(written, form)


def _seconds(moment: datetime.datetime, digits: str) -> str:
    text = f"{moment.second:02}.{moment.microsecond:06}"
    if digits == "*":
        return text.rstrip("0").rstrip(".") if moment.microsecond else text[:2]
    return text[:2] if digits == "0" else text.ljust(9, "0")[: 3 + int(digits)].ljust(3 + int(digits), "0")


def _offset(minutes: int, between: str) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{between}{abs(minutes) % 60:02}"


def _zone(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return "UTC" + (f"{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02}" if rest else "") if minutes else "")


def _day(moment: datetime.datetime) -> int:
    return moment.timetuple().tm_yday


_OFFSETS: dict[str, Callable[[int], str]] = {
    "Ez": lambda ahead: _offset(ahead, ":"),
    "Z": _zone,
    "z": lambda ahead: _offset(ahead, ""),
}
_ELEMENTS: dict[str, Callable[[datetime.datetime], str]] = {
    "%": lambda _: "%",
    "A": lambda moment: DAYS[moment.weekday()].capitalize(),
    "a": lambda moment: DAYS[moment.weekday()][:3].capitalize(),
    "B": lambda moment: MONTHS[moment.month - 1].capitalize(),
    "b": lambda moment: MONTHS[moment.month - 1][:3].capitalize(),
    "C": lambda moment: f"{moment.year // 100:02}",
    "d": lambda moment: f"{moment.day:02}",
    "E4Y": lambda moment: f"{moment.year:04}",
    "e": lambda moment: f"{moment.day:2}",
    "G": lambda moment: f"{moment.isocalendar().year:04}",
    "g": lambda moment: f"{moment.isocalendar().year % 100:02}",
    "H": lambda moment: f"{moment.hour:02}",
    "h": lambda moment: MONTHS[moment.month - 1][:3].capitalize(),
    "I": lambda moment: f"{(moment.hour - 1) % 12 + 1:02}",
    "J": lambda moment: f"{moment.isocalendar().week * 7 - 7 + moment.isoweekday():03}",
    "j": lambda moment: f"{_day(moment):03}",
    "k": lambda moment: f"{moment.hour:2}",
    "l": lambda moment: f"{(moment.hour - 1) % 12 + 1:2}",
    "M": lambda moment: f"{moment.minute:02}",
    "m": lambda moment: f"{moment.month:02}",
    "n": lambda _: "\n",
    "P": lambda moment: "am" if moment.hour < 12 else "pm",
    "p": lambda moment: "AM" if moment.hour < 12 else "PM",
    "Q": lambda moment: str((moment.month + 2) // 3),
    "S": lambda moment: f"{moment.second:02}",
    "t": lambda _: "\t",
    "U": lambda moment: f"{(_day(moment) + 6 - moment.isoweekday() % 7) // 7:02}",
    "u": lambda moment: str(moment.isoweekday()),
    "V": lambda moment: f"{moment.isocalendar().week:02}",
    "W": lambda moment: f"{(_day(moment) + 6 - moment.weekday()) // 7:02}",
    "w": lambda moment: str(moment.isoweekday() % 7),
    "Y": lambda moment: str(moment.year),
    "y": lambda moment: f"{moment.year % 100:02}",
}
