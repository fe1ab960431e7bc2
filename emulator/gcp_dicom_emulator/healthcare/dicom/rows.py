"""The rows of a metadata export: flattened, with a column for each DICOM keyword, or with all elements in one JSON column."""

from __future__ import annotations

import datetime
import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gcp_dicom_emulator.healthcare.dicom.charsets import DEFAULT_CHARSET, Charset
from gcp_dicom_emulator.healthcare.dicom.dicom_json import element_to_json
from gcp_dicom_emulator.healthcare.dicom.reading import INSTANCE, SERIES, STUDY, CannotRead, File, charset_of, read
from gcp_dicom_emulator.healthcare.dicom.values import BINARY, values
from gcp_dicom_emulator.healthcare.instances import Instance

if TYPE_CHECKING:
    from gcp_dicom_emulator.healthcare.dicom.reading import Element, Elements

    #: A ``TableFieldSchema`` of BigQuery.
    Field = dict[str, Any]
    _Row = dict[str, Any]

MAX_SEQUENCE_LEVELS = 15
MAX_SEQUENCE_BYTES = 1024 * 1024

#: How long a value may be, in bytes, to be remembered for the next instance that has it.
_REMEMBERED = 64
#: A sequence of fewer bytes has no JSON that is too large: nothing becomes longer than a name of one letter in many groups.
_SMALL_SEQUENCE = MAX_SEQUENCE_BYTES // 64
_TYPES = {
    **dict.fromkeys(("AE", "AS", "CS", "DS", "IS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"), "STRING"),
    **dict.fromkeys(("AT", "SL", "SS", "SV", "UL", "US", "UV"), "INTEGER"),
    **dict.fromkeys(("FD", "FL"), "FLOAT"),
    **dict.fromkeys(("PN", "SQ"), "RECORD"),
    "DA": "DATE",
    "TM": "TIME",
    "DT": "TIMESTAMP",
}


def _string(name: str, mode: str = "NULLABLE") -> Field:
    return {"name": name, "type": "STRING", "mode": mode}


def _record_field(name: str, *fields: Field) -> Field:
    return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": list(fields)}


_UID_COLUMNS = (_string("StudyInstanceUID"), _string("SeriesInstanceUID"), _string("SOPInstanceUID"))
#: What a row says of the instance's storage, and of what has become of it.
STATE_FIELDS = (
    _string("StorageClass"),
    {"name": "LastUpdated", "type": "TIMESTAMP", "mode": "NULLABLE"},
    {"name": "BlobStorageSize", "type": "INTEGER", "mode": "NULLABLE"},
    _string("Type"),
)
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
#: In the order of the value's components (DICOM PS3.5, 6.2.1).
_NAME_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_NAME_FIELDS = tuple(_record_field(group, *map(_string, _NAME_COMPONENTS)) for group in _NAME_GROUPS)
_OTHER_FIELDS = (_string("Tag"), _string("Data", "REPEATED"))
_DROPPED_FIELDS = (_string("TagName"), _string("TagReference"))


@dataclass
class _Column:
    """A column of a table, or of a record in it.

    :param order: where it stands among the others.
    :param fields: of a record that always has the same.
    :param columns: of a sequence, which depend on what its items have.
    """

    order: tuple[int, int]
    name: str
    type: str
    mode: str
    fields: tuple[Field, ...] = ()
    columns: _Columns = field(default_factory=dict)


_Columns = dict[str, _Column]
_OTHER_ELEMENTS = _Column((2, 0), "OtherElements", "RECORD", "REPEATED", _OTHER_FIELDS)


class NoRow(NamedTuple):
    """Stands for the row of an instance that has none.

    :param reason: why.
    """

    reason: str


class Rows(NamedTuple):
    """The rows of some instances.

    :param lines: a line of JSON for each instance.
    :param columns: knows the columns of flattened rows.
    """

    lines: list[str | NoRow]
    columns: Flattener


def make_rows(instances: Sequence[Instance], flattened: bool, source_store: str | None) -> Rows:
    """Return the rows of some instances.

    :param flattened: whether there is to be a column for each keyword.
    :param source_store: the store's name, for ``includeSourceStore``.
    """
    rows = Rows([], Flattener())
    for instance in instances:
        try:
            file = read(instance.path, cut_pixels=True)
        except (CannotRead, FileNotFoundError) as error:
            rows.lines.append(NoRow(str(error)))
            continue
        row = rows.columns.add(file, source_store) if flattened else _json_row(file, instance, source_store)
        rows.lines.append(json.dumps(row) + "\n")
    return rows


def _json_row(file: File, instance: Instance, source_store: str | None) -> dict[str, Any]:
    return json_row(
        file,
        source_store=source_store,
        blob_storage_size=instance.size,
        storage_class=instance.storage_class,
        last_updated=instance.updated,
    )


class Flattener:
    """Turns instances into rows of one table, and knows the columns that they need together."""

    def __init__(self) -> None:
        self._columns: _Columns = {}

    def add(self, file: File, source_store: str | None) -> dict[str, Any]:
        """Return an instance's row, as BigQuery loads it from JSON.

        :param source_store: the store's name, for ``includeSourceStore``.
        """
        record = _Record(self._columns, ())
        record.add(file.meta, DEFAULT_CHARSET)
        record.add(file.elements, DEFAULT_CHARSET)
        if record.dropped:
            record.put(record.dropped, _Column((3, 0), "DroppedTags", "RECORD", "REPEATED", _DROPPED_FIELDS))
        if source_store:
            record.put(source_store, _Column((4, 0), "SourceDicomStore", "STRING", "NULLABLE"))
        return record.row

    def merge(self, other: Flattener) -> None:
        """Take the columns of other rows of the same table."""
        _merge(self._columns, other._columns)

    def schema(self) -> list[Field]:
        """Return the columns of all rows so far, by tag; those of the UIDs when there is no row, for a table needs columns."""
        return _schema(self._columns) or list(_UID_COLUMNS)


def _merge(columns: _Columns, others: _Columns) -> None:
    for name, other in others.items():
        known = columns.setdefault(name, other)
        if known is not other:
            _merge(known.columns, other.columns)


def _schema(columns: _Columns) -> list[Field]:
    fields: list[Field] = []
    for column in sorted(columns.values(), key=lambda column: column.order):
        nested = list(column.fields) or _schema(column.columns)
        described = {"name": column.name, "type": column.type, "mode": column.mode}
        fields.append(described | ({"fields": nested} if nested else {}))
    return fields


class _Other(NamedTuple):
    """What goes into a column that has texts with their tags."""

    column: _Column
    value: dict[str, Any]


class _Record:
    """A row, or a sequence's item in it.

    :param columns: of the table or of the sequence; those that are needed are added.
    :param path: the sequences around it.
    """

    def __init__(self, columns: _Columns, path: tuple[str, ...]) -> None:
        self.row: _Row = {}
        #: What is not in the row: too deep, too large, or not of its value representation.
        self.dropped: list[dict[str, Any]] = []
        self._columns = columns
        self._path = path

    def put(self, value: Any, column: _Column) -> None:
        """Set a cell."""
        self.row[column.name] = value
        self._columns.setdefault(column.name, column)

    def add(self, elements: Elements, around: Charset) -> None:
        """Add the elements of a data set that an export has.

        :param around: the characters of the data set that it is an item of.
        """
        charset = charset_of(elements, around)
        for tag in sorted(elements):
            element = elements[tag]
            if element.items is not None:
                self._add_sequence(element, charset)
            elif element.vr not in BINARY and tag & 0xFFFF:
                self._add_value(element, charset)

    def _add_value(self, element: Element, charset: Charset) -> None:
        tag, data = element.tag, element.data[element.start : element.end]
        convert = _converted if len(data) <= _REMEMBERED else _converted.__wrapped__
        try:
            column, value, other = convert(tag, element.vr, data, element.little, charset)
        except ValueError:
            self._drop(tag)
            return
        if column is not None:
            self.row[column.name] = value
            if column.name not in self._columns:
                self._columns[column.name] = column
        if other is not None:
            self._add_other(other)

    def _add_other(self, other: _Other) -> None:
        name = other.column.name
        if name in self.row:
            self.row[name].append(other.value)
        else:
            self.put([other.value], other.column)

    def _add_sequence(self, element: Element, charset: Charset) -> None:
        tag, path = element.tag, (*self._path, f"{element.tag:08X}")
        entry = _entry(tag)
        known = entry is not None and entry.vr == "SQ" and not entry.repeats
        name = entry.keyword if entry and known else f"Tag_{tag:08X}"
        if len(path) > MAX_SEQUENCE_LEVELS:
            self._drop(tag, name)
            return
        column = _Column((int(not known), tag), name, "RECORD", "REPEATED")
        items, dropped = [], []
        for item in element.items or ():
            record = _Record(column.columns, path)
            record.add(item.elements, charset)
            items.append(record.row)
            dropped += record.dropped
        is_large = not self._path and element.end - element.start > _SMALL_SEQUENCE
        if is_large and len(json.dumps(items)) > MAX_SEQUENCE_BYTES:
            self._drop(tag, name)
            return
        self.dropped += dropped
        if column.columns:  # a sequence without any element has no column
            self.row[name] = items
            _merge(self._columns, {name: column})
        elif name in self._columns:
            self.row[name] = items

    def _drop(self, tag: int, name: str = "") -> None:
        entry = _entry(tag)
        name = name or (entry.keyword if entry else f"Tag_{tag:08X}")
        self.dropped.append({"TagName": name, "TagReference": ".".join((*self._path, f"{tag:08X}"))})


class _Entry(NamedTuple):
    """What the dictionary (DICOM PS3.6) says of a tag.

    :param type: of its column, as ``mode`` and ``fields``.
    :param repeats: whether the tag is one of a repeating group.
    """

    keyword: str
    vr: str
    type: str
    mode: str
    fields: tuple[Field, ...]
    repeats: bool


@functools.cache
def _entry(number: int) -> _Entry | None:
    """Return what the dictionary says of a tag; ``None`` for one that it does not have."""
    from pydicom import datadict
    from pydicom import tag as tags

    tag = tags.Tag(number)
    keyword = "" if tag.is_private else datadict.keyword_for_tag(tag)
    if not keyword:
        return None
    vr = datadict.dictionary_VR(tag)
    mode = "NULLABLE" if datadict.dictionary_VM(tag) == "1" else "REPEATED"
    fields = _NAME_FIELDS if vr == "PN" else ()
    # Some have a choice, as "US or SS".
    return _Entry(keyword, vr, _TYPES.get(vr[:2], "STRING"), mode, fields, datadict.repeater_has_tag(tag))


@functools.lru_cache(10_000)
def _converted(tag: int, vr: str, data: bytes, little: bool, charset: Charset) -> tuple[_Column | None, Any, _Other | None]:
    """Return the column of an element, if it has one, the value there, and what else is to be said of it.

    The instances of a series say much the same, so that this is remembered; nobody may change what is returned.

    :raises ValueError: the value is not of its value representation.
    """
    found, entry = values(vr, data, charset, little=little), _entry(tag)
    texts = [value if type(value) is str else _text(vr, value) for value in found]
    value = {"Tag": f"Tag_{tag:08X}", "Data": texts}
    if entry is None or entry.vr == "SQ":
        return None, None, _Other(_OTHER_ELEMENTS, value)
    if entry.repeats:
        return None, None, _Other(_Column((0, tag), entry.keyword, "RECORD", "REPEATED", _OTHER_FIELDS), value)
    cell, fits = _cell(entry, found, texts)
    column = _Column((0, tag), entry.keyword, entry.type, entry.mode, entry.fields)
    return column, cell, None if fits else _Other(_OTHER_ELEMENTS, value)


def _cell(entry: _Entry, found: list[Any], texts: list[str]) -> tuple[Any, bool]:
    """Return what a column has of values, and whether they fit the column, which is empty else.

    :param texts: the values as text.
    """
    repeated = entry.mode == "REPEATED"
    if entry.type == "STRING":
        return (texts if repeated else "\\".join(texts) if texts else None), True
    try:
        convert = _CONVERTERS[entry.type]
        cells = [convert(value) for value in found]
    except (ValueError, OverflowError):
        return ([] if repeated else None), False
    if repeated:
        return [cell for cell in cells if cell is not None], True
    return (cells[0], True) if len(cells) == 1 else (None, not cells)


def _text(vr: str, value: Any) -> str:
    return f"({value >> 16:04X},{value & 0xFFFF:04X})" if vr == "AT" else str(value)


def _name(value: Any) -> dict[str, Any] | None:
    groups = [_name_group(group) for group in str(value).split("=")]
    if not any(groups):
        return None
    if any(groups[len(_NAME_GROUPS) :]):
        raise ValueError("it has more than three groups")
    return dict(zip(_NAME_GROUPS, groups, strict=False))


def _name_group(text: str) -> dict[str, str | None] | None:
    components = [component.strip() or None for component in text.split("^")]
    if not any(components):
        return None
    if any(components[len(_NAME_COMPONENTS) :]):
        raise ValueError("it has more than five components")
    return dict(zip(_NAME_COMPONENTS, components, strict=False))


def _integer(value: Any) -> int:
    number = int(_number(value))
    if number != value and not isinstance(value, str):
        raise ValueError("it is not an integer")
    if not -(2**63) <= number < 2**63:
        raise ValueError("it is not an INT64")
    return number


def _float(value: Any) -> float | str:
    number = float(_number(value))
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _number(value: Any) -> Any:
    """Return a value that Python may make a number of: it takes more than DICOM has, such as ``1_000``."""
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError(f"{value!r} is not a number")
    return value


_DECIMAL = re.compile(r"[+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)", re.ASCII)
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATE_TIME = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?", re.ASCII)


def _match(pattern: re.Pattern[str], value: Any) -> list[str] | None:
    """Return a value's parts, those left out as ``""``; ``None`` for an empty value."""
    text = str(value).strip()
    if not text:
        return None
    match = pattern.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not of its value representation")
    return [part or "" for part in match.groups()]


def _date(value: Any) -> str | None:
    parts = _match(_DATE, value)
    if not parts:
        return None
    year, month, day = map(int, parts)
    return datetime.date(year, month, day).isoformat()


def _time(value: Any) -> str | None:
    parts = _match(_TIME, value)
    if not parts:
        return None
    hour, minute, second, fraction = parts
    return datetime.time(int(hour), int(minute or 0), int(second or 0), _micros(fraction)).isoformat()


def _timestamp(value: Any) -> str | None:
    parts = _match(_DATE_TIME, value)
    if not parts:
        return None
    year, month, day, hour, minute, second, fraction, offset = parts
    moment = datetime.datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))
    moment += datetime.timedelta(microseconds=_micros(fraction))
    if offset:
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        moment -= datetime.timedelta(minutes=minutes if offset[0] == "+" else -minutes)
    return f"{moment.isoformat()}+00:00"


def _micros(fraction: str) -> int:
    return int(fraction.ljust(6, "0"))


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "INTEGER": _integer,
    "FLOAT": _float,
    "DATE": _date,
    "TIME": _time,
    "TIMESTAMP": _timestamp,
    "RECORD": _name,
}


def json_schema(include_source_store: bool) -> list[Field]:
    """Return the columns of ``schemaJson``."""
    return [
        *_UID_COLUMNS,
        *([_string("SourceDicomStore")] if include_source_store else []),
        {"name": "Metadata", "type": "JSON", "mode": "NULLABLE"},
        {"name": "StructuredStorageSize", "type": "INTEGER", "mode": "NULLABLE"},
        _string("DroppedTags", "REPEATED"),
        *STATE_FIELDS,
    ]


def json_row(
    file: File, *, source_store: str | None, blob_storage_size: int, storage_class: str, last_updated: str
) -> dict[str, Any]:
    """Return an instance's row of ``schemaJson``; its elements are in the DICOM JSON Model (DICOM PS3.18, annex F).

    :param source_store: the store's name, for ``includeSourceStore``.
    :param blob_storage_size: bytes of the instance.
    :param last_updated: RFC 3339.
    """
    dropped: list[str] = []
    metadata = _json_model(file.meta, DEFAULT_CHARSET, (), dropped) | _json_model(file.elements, DEFAULT_CHARSET, (), dropped)
    source = {"SourceDicomStore": source_store} if source_store else {}
    return {
        "StudyInstanceUID": file.uid(STUDY),
        "SeriesInstanceUID": file.uid(SERIES),
        "SOPInstanceUID": file.uid(INSTANCE),
        **source,
        "Metadata": metadata,
        "StructuredStorageSize": len(json.dumps(metadata)),
        "DroppedTags": dropped,
        "StorageClass": storage_class,
        "LastUpdated": last_updated,
        "BlobStorageSize": blob_storage_size,
        "Type": "INSERT",
    }


def _json_model(elements: Elements, around: Charset, path: tuple[str, ...], dropped: list[str]) -> dict[str, Any]:
    charset, model = charset_of(elements, around), {}
    for tag in sorted(elements):
        element = elements[tag]
        if not tag & 0xFFFF or element.vr in BINARY:
            continue
        reference = (*path, f"{tag:08X}")
        try:
            is_sequence = element.items is not None
            value = _json_sequence(element, charset, reference, dropped) if is_sequence else element_to_json(element, charset)
        except ValueError:
            dropped.append(".".join(reference))
        else:
            model[reference[-1]] = value
    return model


def _json_sequence(element: Element, charset: Charset, reference: tuple[str, ...], dropped: list[str]) -> dict[str, Any]:
    if len(reference) > MAX_SEQUENCE_LEVELS:
        raise ValueError("the sequence is nested too deep")
    inner: list[str] = []
    items = [_json_model(item.elements, charset, reference, inner) for item in element.items or ()]
    is_large = len(reference) == 1 and element.end - element.start > _SMALL_SEQUENCE
    if is_large and len(json.dumps(items)) > MAX_SEQUENCE_BYTES:
        raise ValueError("the sequence is too large")
    dropped += inner
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
