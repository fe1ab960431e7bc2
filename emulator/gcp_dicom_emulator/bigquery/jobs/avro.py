"""Avro's object container files, read: their schema as BigQuery's, their records as what JSON has for them."""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

_MAGIC = b"Obj\x01"
_EXACT = decimal.Context(prec=decimal.MAX_PREC)
#: What reading raises of a file that does not keep to its schema, or whose schema is not one.
_FAULTS = (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
#: Avro's types -> BigQuery's.
_SCALARS = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "INTEGER",
    "float": "FLOAT",
    "double": "FLOAT",
    "bytes": "BYTES",
    "string": "STRING",
    "enum": "STRING",
    "fixed": "BYTES",
}
#: Logical types, where they are asked for -> BigQuery's type.
_LOGICAL = {
    "date": "DATE",
    "time-millis": "TIME",
    "time-micros": "TIME",
    "timestamp-millis": "TIMESTAMP",
    "timestamp-micros": "TIMESTAMP",
    "local-timestamp-millis": "DATETIME",
    "local-timestamp-micros": "DATETIME",
    "decimal": "NUMERIC",
}


def _corrupt() -> ApiError:
    return ApiError(
        400, "Error while reading data, error message: The Apache Avro library failed to read data: not an Avro file."
    )


class _Bytes:
    """What is read of a block."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def take(self, size: int) -> bytes:
        """Return so many bytes."""
        data = self._file.read(size) if size >= 0 else b""
        if len(data) != size:
            raise _corrupt()
        return data

    def number(self) -> int:
        """Return a zig-zag number."""
        shift = result = 0
        while True:
            (byte,) = self.take(1)
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (result >> 1) ^ -(result & 1)
            shift += 7
            if shift > 63:
                raise _corrupt()

    def chunk(self) -> bytes:
        """Return bytes that have their length before them."""
        return self.take(self.number())

    def items(self) -> Iterator[None]:
        """Yield once for each item of an array or a map."""
        while count := self.number():
            if count < 0:
                count = -count
                self.number()  # the size of the block
            for _ in range(count):
                yield


class Avro:
    """A file.

    :param logical: whether logical types are obeyed.
    :raises ApiError: 400 for what is not an Avro file, 501 for what the emulator does not do.
    """

    def __init__(self, path: Path, *, logical: bool) -> None:
        self._path, self._logical = path, logical
        self._named: dict[str, Any] = {}
        try:
            self._read_header()
        except _FAULTS as error:
            raise _corrupt() from error

    def _read_header(self) -> None:
        with self._path.open("rb") as file:
            source = _Bytes(file)
            if source.take(4) != _MAGIC:
                raise _corrupt()
            metadata = {}
            for _ in source.items():
                key = source.chunk().decode()
                metadata[key] = source.chunk()
            self._sync = source.take(16)
            self._start = file.tell()
        self._codec = metadata.get("avro.codec", b"null").decode()
        if self._codec not in ("null", "deflate"):
            raise ApiError(501, f"The emulator reads no Avro with the codec {self._codec}.")
        self._schema = json.loads(metadata["avro.schema"])
        if not isinstance(self._schema, dict) or self._schema.get("type") != "record":
            raise ApiError(400, "Error while reading data, error message: The schema of an Avro file must be a record.")
        self.fields = [self._field(field["name"], field["type"]) for field in self._known(self._schema)["fields"]]

    def _known(self, kind: Any) -> Any:
        """Return a type, by its name where it was defined before; a union of null and another is that."""
        if isinstance(kind, str) and kind in self._named:
            return self._named[kind]
        if isinstance(kind, dict) and "name" in kind:
            name = kind["name"]
            for known in (name, f"{kind['namespace']}.{name}" if kind.get("namespace") else name):
                self._named[known] = kind
        return kind if isinstance(kind, (dict, list)) else {"type": kind}

    def _field(self, name: str, kind: Any, mode: str = "REQUIRED") -> Field:
        kind = self._known(kind)
        if isinstance(kind, list):
            others = [one for one in kind if one != "null"]
            if len(others) != 1 or len(kind) > 2:
                raise ApiError(501, f"The emulator reads no Avro with a union of several types (field {name}).")
            return self._field(name, others[0], "NULLABLE" if len(kind) == 2 else mode)
        of = kind["type"]
        if isinstance(of, (dict, list)):
            return self._field(name, of, mode)
        if of == "record":
            return {
                "name": name,
                "type": "RECORD",
                "mode": mode,
                "fields": [self._field(f["name"], f["type"]) for f in kind["fields"]],
            }
        if of == "array":
            return {**self._field(name, kind["items"]), "mode": "REPEATED"}
        if of == "map":
            pair = [{"name": "key", "type": "STRING", "mode": "REQUIRED"}, self._field("value", kind["values"])]
            return {"name": name, "type": "RECORD", "mode": "REPEATED", "fields": pair}
        logical = kind.get("logicalType") if self._logical else None
        if of not in _SCALARS:
            raise ApiError(501, f"The emulator reads no Avro with a field of type {of} (field {name}).")
        return {"name": name, "type": _LOGICAL.get(str(logical), _SCALARS[of]), "mode": mode}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the records, as JSON has them.

        :raises ApiError: 400 for what does not keep to the file's schema.
        """
        try:
            yield from self._records()
        except _FAULTS as error:
            raise _corrupt() from error

    def _records(self) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as file:
            file.seek(self._start)
            source = _Bytes(file)
            while file.peek(1):
                count, data = source.number(), source.chunk()
                if source.take(16) != self._sync:
                    raise _corrupt()
                block = _Bytes(io.BytesIO(self._unpacked(data)))
                for _ in range(count):
                    yield self._value(self._schema, block)

    def _unpacked(self, data: bytes) -> bytes:
        try:
            return zlib.decompress(data, -15) if self._codec == "deflate" else data
        except zlib.error:
            raise _corrupt() from None

    def _value(self, kind: Any, source: _Bytes) -> Any:
        kind = self._known(kind)
        if isinstance(kind, list):
            place = source.number()
            if not 0 <= place < len(kind):
                raise _corrupt()
            return self._value(kind[place], source)
        of = kind["type"]
        if isinstance(of, (dict, list)):
            return self._value(of, source)
        if of == "record":
            return {field["name"]: self._value(field["type"], source) for field in kind["fields"]}
        if of == "array":
            return [self._value(kind["items"], source) for _ in source.items()]
        if of == "map":
            return [{"key": source.chunk().decode(), "value": self._value(kind["values"], source)} for _ in source.items()]
        return self._scalar(kind, of, source)

    def _scalar(self, kind: Any, of: str, source: _Bytes) -> Any:
        if of == "null":
            return None
        if of == "boolean":
            return source.take(1) != b"\0"
        if of in ("float", "double"):
            (real,) = struct.unpack("<f" if of == "float" else "<d", source.take(4 if of == "float" else 8))
            return real if real == real and abs(real) != float("inf") else str(real)
        if of == "enum":
            place = source.number()
            if not 0 <= place < len(kind["symbols"]):
                raise _corrupt()
            return kind["symbols"][place]
        value: Any = source.number() if of in ("int", "long") else source.take(kind["size"]) if of == "fixed" else source.chunk()
        logical = kind.get("logicalType") if self._logical else None
        if logical in _LOGICAL:
            return _written(logical, value, int(kind.get("scale") or 0))
        if of == "string":
            return value.decode()
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _written(logical: str, value: Any, scale: int) -> str:
    """Return the value of a logical type as JSON has it."""
    if logical == "decimal":
        # Without a context, 28 digits would be kept.
        return str(decimal.Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-scale, _EXACT))
    if logical == "date":
        return (datetime.date(1970, 1, 1) + datetime.timedelta(days=value)).isoformat()
    micros = value * 1000 if logical.endswith("millis") else value
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    if logical.startswith("time-"):
        return moment.time().isoformat()
    return moment.isoformat() + ("" if logical.startswith("local") else "Z")
