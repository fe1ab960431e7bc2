"""QIDO-RS: searches for studies, series and instances.

Sources: PS3.18, section 10.6; the DICOM conformance statement of the Healthcare API for what can be searched by, and the limits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from gcp_dicom_emulator.healthcare.dicom.headers import INSTANCE_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, attributes
from gcp_dicom_emulator.healthcare.dicom.reading import CannotRead, read
from gcp_dicom_emulator.healthcare.dicom.values import BINARY
from gcp_dicom_emulator.healthcare.dicomweb.asked import accept, alternatives, parameters
from gcp_dicom_emulator.healthcare.names import is_uid
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call, Handler

_LEVELS = ("study", "series", "instance")
_RESOURCES = ("studies", "series", "instances")
#: What a search on a level returns beside the levels above.
_RETURNED = {"study": STUDY_ATTRIBUTES, "series": SERIES_ATTRIBUTES, "instance": INSTANCE_ATTRIBUTES}
#: By what a search on a level may be narrowed, beside the levels above.
_SEARCHED = {
    "study": (
        "StudyInstanceUID",
        "PatientName",
        "PatientID",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyDate",
        "ModalitiesInStudy",
    ),
    "series": ("SeriesInstanceUID", "Modality"),
    "instance": ("SOPInstanceUID",),
}
_UID_COLUMNS = {"StudyInstanceUID": "study", "SeriesInstanceUID": "series", "SOPInstanceUID": "instance"}
_DEFAULT_LIMIT = {"study": 100, "series": 100, "instance": 1000}
_MAX_LIMIT = {"study": 5000, "series": 5000, "instance": 50_000}
_MAX_OFFSET = 1_000_000
_DATE = re.compile(r"(\d{8})? *(-)? *(\d{8})?", re.ASCII)
#: How long a name may be that is searched for fuzzily: SQLite takes only so many conditions.
_MAX_FUZZY = 1024
_TAG = re.compile(r"[0-9A-F]{8}", re.IGNORECASE)
#: What no result has: ``AvailableTransferSyntaxUID``, which the service is known to refuse.
_NOT_INCLUDED = (0x00083002,)
_MEDIA_TYPES = ("application/dicom+json", "application/json", "application/*", "*/*")


@dataclass
class _Query:
    """One search.

    :param level: of the results.
    :param where: SQL conditions on ``i`` (``dicom_instances``) and ``a`` (``dicom_attributes``), and their parameters.
    :param included: tags that results are to have beside the usual ones.
    :param all_included: whether they are to have all.
    """

    store: str
    level: str
    where: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)
    limit: int = 0
    offset: int = 0
    included: list[int] = field(default_factory=list)
    all_included: bool = False

    def add(self, condition: str, *parameters: Any) -> None:
        self.where.append(condition)
        self.parameters.extend(parameters)


class Search:
    """Searches.

    :param get_store: raises when there is no such store.
    """

    def __init__(self, state: State, get_store: Callable[[str], Any]) -> None:
        self._state = state
        self._get_store = get_store

    def handlers(self, stores: str) -> dict[str, Handler]:
        """Return the code by method id.

        :param stores: what the ids of a store's methods begin with.
        """
        methods = ("searchForStudies", "searchForSeries", "searchForInstances")
        below = ("studies.searchForSeries", "studies.searchForInstances", "studies.series.searchForInstances")
        return {f"{stores}.{method}": self._search for method in (*methods, *below)}

    def _search(self, call: Call) -> web.Response:
        store = self._get_store(call.path["parent"])["name"]
        _check_accept(call)
        query = _parse(call, store)
        url = f"{call.base_url}/{call.method.api.partition('.')[2]}/{store}/dicomWeb"
        results = [result for row in self._rows(query) if (result := self._result(query, row, url))]
        if not results:
            return web.Response(status=204)
        return web.Response(text=json.dumps(results), content_type="application/dicom+json")

    def _rows(self, query: _Query) -> list[Any]:
        """Return the first instance of each result, in the order of the UIDs."""
        if query.level == "study":
            columns, first = "i.study", "MIN(i.series || '/' || i.instance) AS below"
        elif query.level == "series":
            columns, first = "i.study, i.series", "MIN(i.instance) AS below"
        else:
            columns, first = "i.study, i.series, i.instance", "'' AS below"
        grouped = f" GROUP BY {columns}" if query.level != "instance" else ""
        sql = (
            f"SELECT {columns}, {first} FROM dicom_instances i JOIN dicom_attributes a USING (store, study, series, instance)"
            f" WHERE {' AND '.join(['i.store = ?', *query.where])}{grouped} ORDER BY {columns} LIMIT ? OFFSET ?"
        )
        return self._state.query(sql, [query.store, *query.parameters, query.limit, query.offset])

    def _result(self, query: _Query, row: Any, url: str) -> dict[str, Any]:
        """Return a result; ``{}`` when its first instance was deleted since it was found."""
        uids = _uids(query.level, row)
        rows = self._state.query(
            "SELECT attributes, blob FROM dicom_instances i JOIN dicom_attributes USING (store, study, series, instance)"
            " WHERE (store, study, series, instance) = (?, ?, ?, ?)",
            (query.store, *uids),
        )
        if not rows:
            return {}
        depth = _LEVELS.index(query.level) + 1
        known = json.loads(rows[0]["attributes"])
        wanted = {tag for level in _LEVELS[:depth] for tag in _tags(_RETURNED[level])}
        result = {tag: known[tag] for tag in known if tag in wanted}
        if query.all_included or query.included:
            try:
                result |= _read(self._state.blob(rows[0]["blob"]), None if query.all_included else query.included)
            except FileNotFoundError:
                return {}
        path = "/".join(f"{resource}/{uid}" for resource, uid in zip(_RESOURCES[:depth], uids, strict=False))
        result["00081190"] = {"vr": "UR", "Value": [f"{url}/{path}"]}
        result["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
        result |= self._counts(query, uids)
        return dict(sorted(result.items()))

    def _counts(self, query: _Query, uids: tuple[str, str, str]) -> dict[str, Any]:
        """Return what a result says about what is below it."""
        if query.level == "instance":
            return {}
        if query.level == "series":
            (row,) = self._state.query(
                "SELECT COUNT(*) AS n FROM dicom_instances WHERE (store, study, series) = (?, ?, ?)", (query.store, *uids[:2])
            )
            return {"00201209": {"vr": "IS", "Value": [row["n"]]}}
        (row,) = self._state.query(
            "SELECT COUNT(*) AS n, COUNT(DISTINCT series) AS series,"
            " GROUP_CONCAT(DISTINCT json_extract(attributes, '$.\"00080060\".Value[0]')) AS modalities"
            " FROM dicom_attributes WHERE (store, study) = (?, ?)",
            (query.store, uids[0]),
        )
        modalities = sorted(row["modalities"].split(",")) if row["modalities"] else []
        return {
            "00080061": {"vr": "CS", **({"Value": modalities} if modalities else {})},
            "00201206": {"vr": "IS", "Value": [row["series"]]},
            "00201208": {"vr": "IS", "Value": [row["n"]]},
        }


def _uids(level: str, row: Any) -> tuple[str, str, str]:
    """Return the UIDs of a result's first instance."""
    if level == "study":
        series, _, instance = row["below"].partition("/")
        return row["study"], series, instance
    if level == "series":
        return row["study"], row["series"], row["below"]
    return row["study"], row["series"], row["instance"]


def _check_accept(call: Call) -> None:
    if not any(alternative.kind in _MEDIA_TYPES for alternative in alternatives(call)):
        raise ApiError(406, f"A search answers application/dicom+json; the request's Accept is {accept(call)!r}.")


def _parse(call: Call, store: str) -> _Query:
    parts = call.path["dicomWebPath"].split("/")
    level = _LEVELS[_RESOURCES.index(parts[-1])]
    query = _Query(store, level, limit=_DEFAULT_LIMIT[level])
    for column, uid in zip(_LEVELS, parts[1:-1:2], strict=False):
        if not is_uid(uid):
            raise ApiError(400, f"{uid!r} is not a UID.")
        query.add(f"i.{column} = ?", uid)
    fuzzy = _fuzzy(call.query.get("fuzzymatching", "false"))
    seen: set[str] = set()
    for name, value in parameters(call):
        if name == "includefield":
            _include(query, value)
        elif name == "limit":
            query.limit = _number(name, value, _MAX_LIMIT[level])
        elif name == "offset":
            query.offset = _number(name, value, _MAX_OFFSET)
        elif name != "fuzzymatching":
            _match(query, name, value, fuzzy, seen)
    return query


def _fuzzy(value: str) -> bool:
    if value not in ("true", "false"):
        raise ApiError(400, f"fuzzymatching must be true or false, not {value!r}.")
    return value == "true"


def _number(name: str, value: str, maximum: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", value) or int(value) > maximum:
        raise ApiError(400, f"{name} must be a number from 0 to {maximum}, not {value!r}.")
    return int(value)


def _include(query: _Query, value: str) -> None:
    for name in value.split(","):
        if name == "all":
            query.all_included = True
        else:
            query.included.append(_included_tag(name))


def _tag(name: str) -> int:
    """Return the tag that a keyword or eight hexadecimal digits mean."""
    from pydicom import datadict

    # pydicom has elements without a keyword.
    tag = int(name, 16) if _TAG.fullmatch(name) else datadict.tag_for_keyword(name) if name else None
    if tag is None:
        raise ApiError(400, f"{name!r} is not an attribute: neither a keyword nor eight hexadecimal digits.")
    return tag


def _included_tag(name: str) -> int:
    from pydicom import datadict

    tag = _tag(name)
    is_private = bool(tag >> 16 & 1)
    is_known = is_private or datadict.dictionary_has_tag(tag)
    if not is_known or tag in _NOT_INCLUDED or (not is_private and datadict.dictionary_VR(tag)[:2] in BINARY):
        raise ApiError(
            400, f"{name} cannot be included in results: it is binary, unknown, or not an attribute of what is stored."
        )
    return tag


def _match(query: _Query, name: str, value: str, fuzzy: bool, seen: set[str]) -> None:
    from pydicom import datadict

    keyword = datadict.keyword_for_tag(_tag(name))
    searched = [known for level in _LEVELS[: _LEVELS.index(query.level) + 1] for known in _SEARCHED[level]]
    if keyword not in searched:
        raise ApiError(400, f"A search for {query.level} results cannot be narrowed by {name}, only by {', '.join(searched)}.")
    if keyword in seen:
        raise ApiError(400, f"{name} is there twice.")
    seen.add(keyword)
    value = value.strip(" ")  # blanks around a value mean nothing: PS3.5, 6.2
    if not value:
        return  # universal matching: PS3.4, C.2.2.2.3
    if column := _UID_COLUMNS.get(keyword):
        uids = _list(value)
        query.add(f"i.{column} IN ({', '.join('?' * len(uids))})", *uids)
    elif "*" in value or "?" in value:
        raise ApiError(501, f"The emulator does not match wildcards, as in {name}={value}.")
    elif keyword == "StudyDate":
        _match_date(query, value)
    elif keyword in ("PatientName", "ReferringPhysicianName"):
        _match_name(query, _value_of(keyword), value, fuzzy and keyword == "PatientName")
    elif keyword == "ModalitiesInStudy":
        _match_modality(query, value)
    else:
        query.add(f"{_value_of(keyword)} = ?", value)


def _list(value: str) -> list[str]:
    return [each.strip(" ") for each in re.split(r"[,\\]", value)]


def _value_of(keyword: str) -> str:
    return f"json_extract(a.attributes, '$.\"{_tags([keyword])[0]}\".Value[0]')"


def _match_date(query: _Query, value: str) -> None:
    match = _DATE.fullmatch(value)
    first, dash, last = match.groups() if match else (None, None, None)
    if not (first or last) or (first and last and not dash):
        raise ApiError(400, f"StudyDate must be YYYYMMDD, YYYYMMDD-, -YYYYMMDD or YYYYMMDD-YYYYMMDD, not {value!r}.")
    # Dates were once written with dots; what is not a date is in no range.
    date = f"REPLACE({_value_of('StudyDate')}, '.', '')"
    if not dash:
        query.add(f"{date} = ?", first)
        return
    query.add(f"{date} GLOB ?", "[0-9]" * 8)
    if first:
        query.add(f"{date} >= ?", first)
    if last:
        query.add(f"{date} <= ?", last)


def _match_name(query: _Query, name: str, value: str, fuzzy: bool) -> None:
    """Match a person's name: whole, or, fuzzily, each word with the beginning of one of the name's words.

    What has one group matches any of the name's; ``^`` at a group's end means nothing (PS3.5, 6.2.1).
    """
    if fuzzy:
        if len(value) > _MAX_FUZZY:
            raise ApiError(400, f"A name that is searched for fuzzily has at most {_MAX_FUZZY} characters, not {len(value)}.")
        for word in re.split(r"[\s^=]+", value):
            escaped = re.sub(r"([%_!])", r"!\1", word)
            query.add(_any_group(name, "' ' || REPLACE(g.value, '^', ' ') LIKE ? ESCAPE '!'"), f"% {escaped}%")
        return
    groups = value.split("=")
    if len(groups) == 1:
        query.add(_any_group(name, "g.value = ? COLLATE NOCASE"), value.rstrip("^ "))
        return
    for key, group in zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False):
        if group := group.rstrip("^ "):
            query.add(_any_group(name, f"g.key = '{key}' AND g.value = ? COLLATE NOCASE"), group)


def _any_group(name: str, condition: str) -> str:
    return f"EXISTS (SELECT 1 FROM json_each({name}) g WHERE {condition})"


def _match_modality(query: _Query, value: str) -> None:
    """Match studies that have a series of a modality, or of one of several."""
    modalities = _list(value)
    query.add(
        "EXISTS (SELECT 1 FROM dicom_attributes m WHERE (m.store, m.study) = (i.store, i.study) AND"
        f" json_extract(m.attributes, '$.\"00080060\".Value[0]') IN ({', '.join('?' * len(modalities))}))",
        *modalities,
    )


def _tags(keywords: Iterable[str]) -> list[str]:
    from pydicom import datadict

    return [f"{datadict.tag_for_keyword(keyword):08X}" for keyword in keywords]


def _read(path: Path, tags: list[int] | None) -> dict[str, Any]:
    """Return elements of a stored instance; without tags, all but those that are binary.

    :raises ApiError: 406 when it cannot be read: an earlier version of the emulator has stored it.
    """
    try:
        return attributes(read(path, cut_pixels=True), tags)
    except CannotRead as error:
        raise ApiError(406, f"An instance cannot be read: {error}.") from error
