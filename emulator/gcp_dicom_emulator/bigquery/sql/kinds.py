"""The types of expressions, as GoogleSQL has them: what the translation knows instead of guessing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.types import Field

if TYPE_CHECKING:
    from sqlglot import exp

#: The key of a node's ``meta`` that has its kind.
_KIND = "kind"


@dataclass(frozen=True)
class Kind:
    """A type of GoogleSQL.

    :param name: ``INT64``, ``STRUCT``, ``ARRAY`` …, or ``NULL`` for a NULL that is of no type yet.
    :param members: a STRUCT's fields, by name (empty when it has none) and type (``None`` when it is not known).
    :param element: an ARRAY's elements, or a RANGE's bounds; ``None`` when they are not known.
    """

    name: str
    members: tuple[tuple[str, Kind | None], ...] = ()
    element: Kind | None = None

    def __deepcopy__(self, memo: Any) -> Kind:
        return self

    def member(self, name: str) -> Kind | None:
        """Return the type of a STRUCT's field, ``None`` when it is not known."""
        return next((kind for known, kind in self.members if known.lower() == name.lower()), None)

    def has(self, name: str) -> bool:
        """Say whether a STRUCT has a field."""
        return any(known.lower() == name.lower() for known, _ in self.members)

    @property
    def is_known(self) -> bool:
        """Whether all that is inside is known, too."""
        if self.name in ("ARRAY", "RANGE"):
            return self.element is not None and self.element.is_known
        return self.name != "NULL" and all(kind is not None and kind.is_known for _, kind in self.members)

    def __str__(self) -> str:
        if self.name == "ARRAY":
            return f"ARRAY<{self.element or '?'}>"
        if self.name == "STRUCT":
            return "STRUCT<" + ", ".join(f"{name} {kind or '?'}".strip() for name, kind in self.members) + ">"
        return f"RANGE<{self.element or '?'}>" if self.name == "RANGE" else self.name


INT64, FLOAT64, NUMERIC, BIGNUMERIC = Kind("INT64"), Kind("FLOAT64"), Kind("NUMERIC"), Kind("BIGNUMERIC")
STRING, BYTES, BOOL, JSON = Kind("STRING"), Kind("BYTES"), Kind("BOOL"), Kind("JSON")
DATE, TIME, DATETIME, TIMESTAMP, INTERVAL = Kind("DATE"), Kind("TIME"), Kind("DATETIME"), Kind("TIMESTAMP"), Kind("INTERVAL")
GEOGRAPHY, PICOSECONDS = Kind("GEOGRAPHY"), Kind("TIMESTAMP(12)")
NULL = Kind("NULL")

#: Numbers, the narrower first: each can be any of those after it.
NUMBERS = (INT64, NUMERIC, BIGNUMERIC, FLOAT64)
_LEGACY = {"INTEGER": INT64, "FLOAT": FLOAT64, "BOOLEAN": BOOL}
#: SQLGlot's names of types.
_SQLGLOT = {
    "BIGINT": INT64,
    "INT": INT64,
    "SMALLINT": INT64,
    "TINYINT": INT64,
    "DOUBLE": FLOAT64,
    "FLOAT": FLOAT64,
    "DECIMAL": NUMERIC,
    "BIGDECIMAL": BIGNUMERIC,
    "TEXT": STRING,
    "VARCHAR": STRING,
    "BINARY": BYTES,
    "VARBINARY": BYTES,
    "BOOLEAN": BOOL,
    "DATE": DATE,
    "TIME": TIME,
    "DATETIME": DATETIME,
    "TIMESTAMP": DATETIME,
    "TIMESTAMPTZ": TIMESTAMP,
    "JSON": JSON,
    "INTERVAL": INTERVAL,
    "GEOGRAPHY": GEOGRAPHY,
}


def array_of(element: Kind | None) -> Kind:
    """Return the type of an array."""
    return Kind("ARRAY", element=element)


def range_of(element: Kind | None) -> Kind:
    """Return the type of a range."""
    return Kind("RANGE", element=element)


def of_field(field: Field) -> Kind:
    """Return the type of a column."""
    if field["type"] == "RECORD":
        kind = Kind("STRUCT", tuple((child["name"], of_field(child)) for child in field["fields"]))
    elif field["type"] == "RANGE":
        kind = range_of(Kind(field["rangeElementType"]["type"]))
    else:
        kind = PICOSECONDS if types.has_picoseconds(field) else _LEGACY.get(field["type"]) or Kind(field["type"])
    return array_of(kind) if field.get("mode") == "REPEATED" else kind


def of_type(kind: exp.Expr | None) -> Kind | None:
    """Return what a type in the text of a statement means, ``None`` when it is not known here."""
    from sqlglot import exp

    if not isinstance(kind, exp.DataType):
        return None
    name = kind.this.name if isinstance(kind.this, exp.DType) else ""
    if name == "ARRAY":
        return array_of(of_type(kind.expressions[0]) if kind.expressions else None)
    if name == "STRUCT":
        members = [
            (member.name, of_type(member.args.get("kind"))) if isinstance(member, exp.ColumnDef) else ("", of_type(member))
            for member in kind.expressions
        ]
        return Kind("STRUCT", tuple(members))
    if name == "RANGE":
        return range_of(of_type(kind.expressions[0]) if kind.expressions else None)
    if name == "TIMESTAMPTZ" and [one.name for one in kind.expressions] == ["12"]:
        return PICOSECONDS
    return _SQLGLOT.get(name)


def of_sqlglot(name: str) -> Kind | None:
    """Return what SQLGlot's name of a type means."""
    return _SQLGLOT.get(name)


def field_of(name: str, kind: Kind) -> Field:
    """Return the column of a type that is known.

    :param kind: must be known; not an array of arrays.
    """
    mode = "NULLABLE"
    if kind.name == "ARRAY" and kind.element is not None:
        kind, mode = kind.element, "REPEATED"
    if kind.name == "STRUCT":
        children = [
            field_of(member or f"_field_{number}", of)
            for number, (member, of) in enumerate(kind.members, start=1)
            if of is not None
        ]
        return {"name": name, "type": "RECORD", "mode": mode, "fields": children}
    if kind.name == "RANGE" and kind.element is not None:
        return {"name": name, "type": "RANGE", "rangeElementType": {"type": kind.element.name}, "mode": mode}
    if kind == PICOSECONDS:
        return {"name": name, "type": "TIMESTAMP", "timestampPrecision": "12", "mode": mode}
    return {"name": name, "type": types.legacy_name(kind.name), "mode": mode}


def duckdb_type(kind: Kind) -> str:
    """Return the type in DuckDB."""
    if kind.name == "ARRAY":
        return f"{duckdb_type(kind.element or INT64)}[]"
    if kind.name == "STRUCT":
        members = [
            f"{types.quote(name or f'_field_{number}')} {duckdb_type(of or INT64)}"
            for number, (name, of) in enumerate(kind.members, start=1)
        ]
        return f"STRUCT({', '.join(members)})"
    if kind.name == "RANGE":
        return types.duckdb_range((kind.element or DATE).name)
    return types.duckdb_scalar("INT64" if kind.name == "NULL" else kind.name)


def of(node: exp.Expr | None) -> Kind | None:
    """Return the type of a node, ``None`` when it is not known."""
    return node.meta_get(_KIND) if node is not None else None


def put(node: exp.Expr, kind: Kind | None) -> exp.Expr:
    """Note the type of a node, and return it."""
    if kind is not None:
        node.meta[_KIND] = kind
    return node


def common(found: Iterable[Kind | None]) -> Kind | None:
    """Return the type that values of several become when they meet, as in UNION ALL, CASE or an array; ``None`` if not known."""
    kinds = list(found)
    if any(kind is None for kind in kinds):
        return None
    known = [kind for kind in kinds if kind is not None and kind != NULL]
    if not known:
        return NULL if kinds else None
    result = known[0]
    for kind in known[1:]:
        wider = _wider(result, kind)
        if wider is None:
            return None
        result = wider
    return result


def _wider(one: Kind, other: Kind) -> Kind | None:
    if one == other:
        return one
    if one in NUMBERS and other in NUMBERS:
        return max(one, other, key=NUMBERS.index)
    if one.name == other.name == "STRUCT" and len(one.members) == len(other.members):
        # The first one names the fields.
        members = [(name, common([a, b])) for (name, a), (_, b) in zip(one.members, other.members, strict=True)]
        return Kind("STRUCT", tuple(members))
    if one.name == other.name == "ARRAY":
        return array_of(common([one.element, other.element]))
    if {one, other} == {DATE, DATETIME}:
        return DATETIME
    return None
