"""The rows of a metadata export: flattened, with a column for each DICOM keyword, or with all elements in one JSON column."""

from __future__ import annotations

import datetime
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gcp_dicom_emulator.healthcare.dicom.headers import element_to_json, read
from gcp_dicom_emulator.healthcare.instances import Instance

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset, FileDataset

    #: A ``TableFieldSchema`` of BigQuery.
    Field = dict[str, Any]

MAX_SEQUENCE_LEVELS = 15
MAX_SEQUENCE_BYTES = 1024 * 1024

_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_TYPES = {
    **dict.fromkeys(("AE", "AS", "CS", "DS", "IS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"), "STRING"),
    **dict.fromkeys(("AT", "SL", "SS", "SV", "UL", "US", "UV"), "INTEGER"),
    **dict.fromkeys(("FD", "FL"), "FLOAT"),
    **dict.fromkeys(("PN", "SQ"), "RECORD"),
    "DA": "DATE",
    "TM": "TIME",
    "DT": "TIMESTAMP",
}
_FILE_META_INFORMATION_VERSION, _SPECIFIC_CHARACTER_SET = 0x00020001, 0x00080005


def _string(name: str, mode: str = "NULLABLE") -> Field:
    return {"name": name, "type": "STRING", "mode": mode}


def _record_field(name: str, *fields: Field) -> Field:
    return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": list(fields)}


_UID_COLUMNS = (_string("StudyInstanceUID"), _string("SeriesInstanceUID"), _string("SOPInstanceUID"))
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
#: In the order of the value's components (DICOM PS3.5, 6.2.1).
_NAME_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_NAME_FIELDS = tuple(_record_field(group, *map(_string, _NAME_COMPONENTS)) for group in _NAME_GROUPS)
_OTHER_FIELDS = (_string("Tag"), _string("Data", "REPEATED"))
_DROPPED_FIELDS = (_string("TagName"), _string("TagReference"))


class _Cell(NamedTuple):
    """A row's value, and what there is to know of its column.

    :param order: where the column stands among the others.
    :param items: of a sequence, whose columns depend on what its items have; the value is ``None`` then.
    """

    order: tuple[int, int]
    type: str
    mode: str
    value: Any
    fields: tuple[Field, ...] = ()
    items: list[_Record] | None = None


_Record = dict[str, _Cell]


@dataclass
class _Column:
    cell: _Cell
    columns: dict[str, _Column] = field(default_factory=dict)


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
            dataset = read(instance.path)
            row = rows.columns.add(dataset, source_store) if flattened else _json_row(dataset, instance, source_store)
            rows.lines.append(json.dumps(row) + "\n")
        except Exception as error:
            # pydicom raises whatever a broken file makes it stumble over; the other instances go on.
            rows.lines.append(NoRow(str(error)))
    return rows


def _json_row(dataset: FileDataset, instance: Instance, source_store: str | None) -> dict[str, Any]:
    return json_row(
        dataset,
        source_store=source_store,
        blob_storage_size=instance.size,
        storage_class=instance.storage_class,
        last_updated=instance.updated,
    )


class Flattener:
    """Turns instances into rows of one table, and knows the columns that they need together."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}

    def add(self, dataset: FileDataset, source_store: str | None) -> dict[str, Any]:
        """Return an instance's row, as BigQuery loads it from JSON.

        :param source_store: the store's name, for ``includeSourceStore``.
        """
        dropped: list[dict[str, Any]] = []
        record = _record([*_elements(dataset.file_meta), *_elements(dataset)], (), dropped)
        if dropped:
            record["DroppedTags"] = _Cell((3, 0), "RECORD", "REPEATED", dropped, _DROPPED_FIELDS)
        if source_store:
            record["SourceDicomStore"] = _Cell((4, 0), "STRING", "NULLABLE", source_store)
        return _merge(self._columns, record)

    def merge(self, other: Flattener) -> None:
        """Take the columns of other rows of the same table."""
        _merge_columns(self._columns, other._columns)

    def schema(self) -> list[Field]:
        """Return the columns of all rows so far, by tag; those of the UIDs when there is no row, for a table needs columns."""
        return _schema(self._columns) or list(_UID_COLUMNS)


def _merge_columns(columns: dict[str, _Column], others: dict[str, _Column]) -> None:
    for name, other in others.items():
        known = columns.setdefault(name, other)
        if known is not other:
            _merge_columns(known.columns, other.columns)


def _merge(columns: dict[str, _Column], record: _Record) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, cell in record.items():
        column = columns.get(name) or _Column(cell._replace(value=None, items=None))
        value = cell.value if cell.items is None else [_merge(column.columns, item) for item in cell.items]
        if cell.items is None or column.columns:  # a sequence without any element has no column
            columns[name] = column
            row[name] = value
    return row


def _schema(columns: dict[str, _Column]) -> list[Field]:
    fields: list[Field] = []
    for name, column in sorted(columns.items(), key=lambda item: item[1].cell.order):
        nested = list(column.cell.fields) or _schema(column.columns)
        described = {"name": name, "type": column.cell.type, "mode": column.cell.mode}
        fields.append(described | ({"fields": nested} if nested else {}))
    return fields


def _record(elements: Iterable[DataElement], path: tuple[str, ...], dropped: list[dict[str, Any]]) -> _Record:
    """Return the cells of a data set, or of a sequence's item.

    :param path: the sequences around it.
    :param dropped: takes what is too deep or too large.
    """
    record: _Record = {}
    other: list[dict[str, Any]] = []
    groups: dict[str, list[dict[str, Any]]] = {}
    for element in elements:
        number = int(element.tag)
        entry = _entry(number)
        if element.VR == "SQ":
            name = entry.keyword if entry and entry.vr == "SQ" and not entry.repeats else f"Tag_{number:08X}"
            _add_sequence(record, element, name, path, dropped)
        elif entry is None:
            other.append(_other(number, element))
        elif entry.repeats:
            group = groups.setdefault(entry.keyword, [])
            group.append(_other(number, element))
            record[entry.keyword] = _Cell((0, number), "RECORD", "REPEATED", group, _OTHER_FIELDS)
        elif not _add_value(record, element, entry):
            other.append(_other(number, element))
    if other:
        record["OtherElements"] = _Cell((2, 0), "RECORD", "REPEATED", other, _OTHER_FIELDS)
    return record


def _other(number: int, element: DataElement) -> dict[str, Any]:
    return {"Tag": f"Tag_{number:08X}", "Data": [_text(value) for value in _values(element)]}


class _Entry(NamedTuple):
    """What the dictionary (DICOM PS3.6) says of a tag.

    :param repeats: whether the tag is one of a repeating group.
    """

    keyword: str
    vr: str
    vm: str
    repeats: bool


@functools.cache
def _entry(number: int) -> _Entry | None:
    """Return what the dictionary says of a tag, which is a plain number here: comparing those of pydicom takes ten times as long."""
    from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, repeater_has_tag
    from pydicom.tag import Tag

    tag = Tag(number)
    keyword = "" if tag.is_private else keyword_for_tag(tag)
    return _Entry(keyword, dictionary_VR(tag), dictionary_VM(tag), repeater_has_tag(tag)) if keyword else None


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """Yield the elements that an export has; those that cannot be read at all are left out."""
    from pydicom.dataelem import RawDataElement, convert_raw_data_element
    from pydicom.sequence import Sequence

    encoding = dataset.original_character_set
    for tag in sorted(dataset.keys(), key=int):
        number = int(tag)
        if not number & 0xFFFF or number == _FILE_META_INFORMATION_VERSION:
            continue
        try:
            element = dataset.get_item(tag)
            if isinstance(element, RawDataElement) and encoding and number != _SPECIFIC_CHARACTER_SET:
                # What dataset[tag] does, but for keeping it, which takes as long again.
                element = convert_raw_data_element(element, encoding=encoding, ds=dataset)
            if isinstance(element, RawDataElement) or " or " in element.VR:
                element = dataset[tag]
            if element.VR == "SQ" and not isinstance(element.value, Sequence):
                continue
        except Exception:  # pydicom raises whatever the broken value makes it stumble over
            continue
        if not _BULK_VRS.intersection(element.VR.split(" or ")):  # some have a choice, as "US or OW"
            yield element


def _add_sequence(record: _Record, element: DataElement, name: str, path: tuple[str, ...], dropped: list[dict[str, Any]]) -> None:
    reference = (*path, f"{element.tag:08X}")
    if len(reference) > MAX_SEQUENCE_LEVELS:
        dropped.append({"TagName": name, "TagReference": ".".join(reference)})
        return
    inner: list[dict[str, Any]] = []
    items = [_record(_elements(item), reference, inner) for item in element.value or []]
    if not path and len(json.dumps([_merge({}, item) for item in items])) > MAX_SEQUENCE_BYTES:
        dropped.append({"TagName": name, "TagReference": ".".join(reference)})
        return
    dropped += inner
    record[name] = _Cell((int(name.startswith("Tag_")), int(element.tag)), "RECORD", "REPEATED", None, items=items)


def _add_value(record: _Record, element: DataElement, entry: _Entry) -> bool:
    """Add an element of the dictionary; return ``False`` if its value does not fit its column, which is empty then."""
    vr = entry.vr
    kind = _TYPES.get(vr[:2], "STRING")  # some have a choice, as "US or SS"
    if vr == "SQ":
        return False
    mode = "NULLABLE" if entry.vm == "1" else "REPEATED"
    fields = _NAME_FIELDS if vr == "PN" else ()
    values = _values(element)
    fits = True
    cells: list[Any]
    try:
        if vr == "PN":
            cells = [_name(str(value)) for value in values]
        elif kind == "STRING" and mode == "NULLABLE":
            cells = ["\\".join(map(_text, values))]
        else:
            cells = [_CONVERTERS[kind](value) for value in values]
        if mode == "NULLABLE" and len(cells) > 1:
            raise ValueError("it has more than one value")
    except (ValueError, TypeError, OverflowError):
        cells, fits = [], False
    value = [cell for cell in cells if cell is not None] if mode == "REPEATED" else (cells[0] if values and cells else None)
    record[entry.keyword] = _Cell((0, int(element.tag)), kind, mode, value, fields)
    return fits


def _values(element: DataElement) -> list[Any]:
    from pydicom.multival import MultiValue

    value = element.value
    if isinstance(value, (MultiValue, list, tuple)):
        return list(value)
    return [] if value is None or value == "" or value == b"" else [value]


def _text(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.encode(errors="replace").decode().rstrip("\0 ")


def _name(value: str) -> dict[str, Any] | None:
    groups = [_name_group(group) for group in _text(value).split("=")]
    if not any(groups):
        return None
    return dict(zip(_NAME_GROUPS, groups, strict=False))


def _name_group(text: str) -> dict[str, str | None] | None:
    components = [component.strip() or None for component in text.split("^")]
    if not any(components):
        return None
    return dict(zip(_NAME_COMPONENTS, components, strict=False))


def _integer(value: Any) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("it is no INT64")
    return number


def _float(value: Any) -> float | str:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)", re.ASCII)
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATE_TIME = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?", re.ASCII)


def _match(pattern: re.Pattern[str], value: Any) -> list[str] | None:
    """Return a value's parts, those left out as ``""``; ``None`` for an empty value."""
    text = _text(value).strip()
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
    "STRING": _text,
    "INTEGER": _integer,
    "FLOAT": _float,
    "DATE": _date,
    "TIME": _time,
    "TIMESTAMP": _timestamp,
}


def json_schema(include_source_store: bool) -> list[Field]:
    """Return the columns of ``schemaJson``."""
    return [
        *_UID_COLUMNS,
        *([_string("SourceDicomStore")] if include_source_store else []),
        {"name": "Metadata", "type": "JSON", "mode": "NULLABLE"},
        {"name": "StructuredStorageSize", "type": "INTEGER", "mode": "NULLABLE"},
        _string("DroppedTags", "REPEATED"),
        _string("StorageClass"),
        {"name": "LastUpdated", "type": "TIMESTAMP", "mode": "NULLABLE"},
        {"name": "BlobStorageSize", "type": "INTEGER", "mode": "NULLABLE"},
        _string("Type"),
    ]


def json_row(
    dataset: FileDataset, *, source_store: str | None, blob_storage_size: int, storage_class: str, last_updated: str
) -> dict[str, Any]:
    """Return an instance's row of ``schemaJson``; its elements are in the DICOM JSON Model (DICOM PS3.18, annex F).

    :param source_store: the store's name, for ``includeSourceStore``.
    :param blob_storage_size: bytes of the instance.
    :param last_updated: RFC 3339.
    """
    dropped: list[str] = []
    metadata = {**_json_model(dataset.file_meta, (), dropped), **_json_model(dataset, (), dropped)}
    source = {"SourceDicomStore": source_store} if source_store else {}
    return {
        "StudyInstanceUID": _text(dataset.StudyInstanceUID),
        "SeriesInstanceUID": _text(dataset.SeriesInstanceUID),
        "SOPInstanceUID": _text(dataset.SOPInstanceUID),
        **source,
        "Metadata": metadata,
        "StructuredStorageSize": len(json.dumps(metadata)),
        "DroppedTags": dropped,
        "StorageClass": storage_class,
        "LastUpdated": last_updated,
        "BlobStorageSize": blob_storage_size,
        "Type": "INSERT",
    }


def _json_model(dataset: Dataset, path: tuple[str, ...], dropped: list[str]) -> dict[str, Any]:
    model: dict[str, Any] = {}
    for element in _elements(dataset):
        tag = f"{element.tag:08X}"
        reference = (*path, tag)
        try:
            value = _json_sequence(element, reference, dropped) if element.VR == "SQ" else element_to_json(element)
        except Exception:  # pydicom raises whatever the broken value makes it stumble over
            dropped.append(".".join(reference))
        else:
            model[tag] = value
    return model


def _json_sequence(element: DataElement, reference: tuple[str, ...], dropped: list[str]) -> dict[str, Any]:
    if len(reference) > MAX_SEQUENCE_LEVELS:
        raise ValueError("the sequence is nested too deep")
    inner: list[str] = []
    items = [_json_model(item, reference, inner) for item in element.value or []]
    if len(reference) == 1 and len(json.dumps(items)) > MAX_SEQUENCE_BYTES:
        raise ValueError("the sequence is too large")
    dropped += inner
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
