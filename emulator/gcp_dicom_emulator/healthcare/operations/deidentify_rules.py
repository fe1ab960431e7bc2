"""What a ``DeidentifyConfig`` says about each element.

Sources: the discovery documents; the table of the Basic Application Level Confidentiality Profile, DICOM PS3.15 E.1-1 (2026c), in
``basic_profile.tsv``: tags and action codes.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from gcp_dicom_emulator.rest.errors import ApiError


class Act(enum.Enum):
    """What is done with an element."""

    KEEP = "keep; of a sequence the items with all they have"
    RECURSE = "keep; of a sequence the items, their elements by the same rules"
    DELETE = "delete"
    EMPTY = "keep without a value"
    RESET = "replace by a placeholder; of a sequence every element at any depth"
    REGENERATE = "replace a UID by a new one"


_SPECIFIC_CHARACTER_SET = 0x00080005
#: Overlay Data, (60xx,3000).
_OVERLAY_DATA, _IN_ANY_GROUP = 0x60003000, 0xFF00FFFF

#: Tells what is done with an element, by its tag and its value representation.
Choice = Callable[[int, str], Act]


@dataclass(frozen=True)
class Rules:
    """How instances are de-identified.

    :param act: tells what is done with an element that identifies no study, series or instance.
    :param keep_ids: whether the UIDs of studies, series and instances stay.
    :param basic_profile: whether the Basic Profile is applied, so that the result may say so.
    """

    act: Choice
    keep_ids: bool = False
    basic_profile: bool = False

    def below(self, act: Act) -> Rules:
        """Return what governs the items of a sequence with which something is done."""
        if act is Act.KEEP:
            return replace(self, act=lambda tag, vr: Act.KEEP)
        if act in (Act.RESET, Act.REGENERATE):  # a sequence is not a UID
            return replace(self, act=self._dummy)
        return self

    def _dummy(self, tag: int, vr: str) -> Act:
        # Placeholders need no character set, and it cannot be one.
        is_unwanted = tag == _SPECIFIC_CHARACTER_SET or self.act(tag, vr) is Act.DELETE
        return Act.DELETE if is_unwanted else Act.RESET


#: Elements without which there is no valid instance, or no image; they are kept, and cannot be on a list of what to remove.
_REQUIRED = (
    "FileMetaInformationGroupLength FileMetaInformationVersion MediaStorageSOPClassUID MediaStorageSOPInstanceUID "
    "TransferSyntaxUID ImplementationClassUID SpecificCharacterSet SOPClassUID SOPInstanceUID StudyInstanceUID "
    "SeriesInstanceUID SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns "
    "BitsAllocated BitsStored HighBit PixelRepresentation PixelAspectRatio SmallestImagePixelValue LargestImagePixelValue "
    "RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor "
    "RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData ICCProfile ColorSpace "
    "WindowCenter WindowWidth VOILUTFunction PixelData FloatPixelData DoubleFloatPixelData"
)
#: The choices of the table's action codes that leave an object valid whatever the type of its elements.
_CODES = {
    "X": Act.DELETE,
    "Z": Act.EMPTY,
    "D": Act.RESET,
    "U": Act.REGENERATE,
    "X/Z": Act.EMPTY,
    "X/D": Act.RESET,
    "X/Z/D": Act.RESET,
    "Z/D": Act.RESET,
    "X/Z/U*": Act.RECURSE,
}
_ACTIONS = {
    "keepTag": Act.KEEP,
    "deleteTag": Act.DELETE,
    "removeTag": Act.EMPTY,
    "resetTag": Act.RESET,
    "regenUidTag": Act.REGENERATE,
    "recurseTag": Act.RECURSE,
}
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_VR = re.compile("A[EST]|CS|D[AST]|F[DL]|IS|L[OT]|O[BDFLVW]|PN|S[HLQSTV]|TM|U[CILNRSTV]")


def parse_config(config: dict[str, Any]) -> Rules:
    """Return what a ``DeidentifyConfig`` means.

    :raises ApiError: 400 for a bad one, 501 for what the emulator does not do.
    """
    _refuse(config, {"dicom", "dicomTagConfig", "image", "useRegionalDataProcessing"}, "config")
    _check_image(config.get("image") or {}, "config.image")
    dicom, tags = config.get("dicom"), config.get("dicomTagConfig")
    if dicom is not None and tags is not None:
        raise ApiError(400, "Only one of config.dicom and config.dicomTagConfig can be set.")
    return _of_tag_config(tags) if tags is not None else _of_dicom_config(dicom or {})


def _of_dicom_config(config: dict[str, Any]) -> Rules:
    ways = [key for key in ("keepList", "removeList", "filterProfile") if config.get(key) is not None]
    if len(ways) > 1:
        raise ApiError(400, f"Only one of {', '.join(ways)} can be set in config.dicom.")
    keep_ids = bool(config.get("skipIdRedaction"))
    if "keepList" in ways:
        return Rules(_keep_only(_tags(config["keepList"])), keep_ids)
    if "removeList" in ways:
        return Rules(_remove(_tags(config["removeList"])), keep_ids)
    profile = config.get("filterProfile") or "TAG_FILTER_PROFILE_UNSPECIFIED"
    return _of_profile("KEEP_ALL_PROFILE" if profile == "TAG_FILTER_PROFILE_UNSPECIFIED" else profile, keep_ids)


def _of_tag_config(config: dict[str, Any]) -> Rules:
    options = config.get("options") or {}
    _refuse(options, {"primaryIds", "cleanImage"}, "config.dicomTagConfig.options")
    _check_image(options.get("cleanImage") or {}, "config.dicomTagConfig.options.cleanImage")
    ids = options.get("primaryIds") or "PRIMARY_IDS_OPTION_UNSPECIFIED"
    if ids not in ("PRIMARY_IDS_OPTION_UNSPECIFIED", "KEEP", "REGEN"):
        raise ApiError(400, f"Invalid value at 'config.dicom_tag_config.options.primary_ids', {ids!r}")
    profile = config.get("profileType") or "PROFILE_TYPE_UNSPECIFIED"
    if profile == "PROFILE_TYPE_UNSPECIFIED":
        profile = "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE"
    rules = _of_profile(profile, ids == "KEEP")
    actions = [_action(action) for action in config.get("actions") or []]

    def act(tag: int, vr: str) -> Act:
        matching = [act for matches, act in actions if matches(tag, vr)]
        if Act.DELETE in matching:
            return Act.DELETE
        return matching[-1] if matching else rules.act(tag, vr)

    return replace(rules, act=act)


def _of_profile(profile: str, keep_ids: bool) -> Rules:
    if profile == "KEEP_ALL_PROFILE":
        return Rules(lambda tag, vr: Act.RECURSE, keep_ids)
    if profile == "MINIMAL_KEEP_LIST_PROFILE":
        return Rules(_keep_only(frozenset()), keep_ids)
    if profile == "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE":
        return Rules(_basic_profile, keep_ids, basic_profile=True)
    if profile == "DEIDENTIFY_TAG_CONTENTS":
        raise ApiError(501, "The emulator does not do DEIDENTIFY_TAG_CONTENTS: it does not inspect text.")
    raise ApiError(400, f"Invalid value at 'config.dicom.filter_profile', {profile!r}")


def _keep_only(tags: frozenset[int]) -> Choice:
    return lambda tag, vr: Act.RECURSE if tag in _required() else Act.KEEP if tag in tags else Act.DELETE


def _remove(tags: frozenset[int]) -> Choice:
    """Return what a list of what to remove does. Overlay Data is on it in any case, as the service's documentation says."""
    from pydicom import datadict

    if required := sorted(tags & _required()):
        keywords = ", ".join(datadict.keyword_for_tag(tag) for tag in required)
        raise ApiError(400, f"What each instance needs cannot be in removeList: {keywords}.")
    return lambda tag, vr: Act.DELETE if tag in tags or tag & _IN_ANY_GROUP == _OVERLAY_DATA else Act.RECURSE


def _basic_profile(tag: int, vr: str) -> Act:
    """Return what the Basic Profile does with an element; what cannot be judged is deleted."""
    if tag >> 16 & 1:  # private
        return Act.DELETE
    if tag >> 16 == 2:  # PS3.15, E.1.1: who wrote the file is nobody's affair
        return Act.RECURSE if tag in _required() else Act.DELETE
    return _of_table(tag) or (Act.RECURSE if _is_what_it_should_be(tag, vr) else Act.DELETE)


@cache
def _of_table(tag: int) -> Act | None:
    text = f"{tag:08X}"
    patterns = (text, f"{text[:2]}xx{text[4:]}", f"{text[:2]}xxxxxx")
    return next((_CODES[_basic_codes()[each]] for each in patterns if each in _basic_codes()), None)


@cache
def _is_what_it_should_be(tag: int, vr: str) -> bool:
    """Return whether an element is of PS3.6, and a sequence where it has one: else nobody knows what is in its value."""
    from pydicom import datadict

    return datadict.dictionary_has_tag(tag) and (vr == "SQ" or datadict.dictionary_VR(tag) != "SQ")


@cache
def _basic_codes() -> dict[str, str]:
    text = resources.files(__package__).joinpath("basic_profile.tsv").read_text()
    return dict(line.split("\t") for line in text.splitlines())


@cache
def _required() -> frozenset[int]:
    from pydicom import datadict

    return frozenset(tag for keyword in _REQUIRED.split() if (tag := datadict.tag_for_keyword(keyword)) is not None)


def _action(action: dict[str, Any]) -> tuple[Callable[[int, str], bool], Act]:
    ways = [key for key, value in action.items() if key != "queries" and value is not None]
    if len(ways) != 1:
        raise ApiError(400, "Each of config.dicomTagConfig.actions must say one thing to do.")
    if ways[0] not in _ACTIONS:
        raise ApiError(501, f"The emulator does not do {ways[0]}.")
    queries = action.get("queries") or []
    if not queries:
        raise ApiError(400, f"{ways[0]} in config.dicomTagConfig.actions has no queries that say what it is for.")
    representations = {query for query in queries if _VR.fullmatch(query)}
    tags = _tags({"tags": [query for query in queries if query not in representations]})

    def matches(tag: int, vr: str) -> bool:
        # Who means all code strings does not mean the one without which no text can be read.
        return tag in tags or (vr in representations and tag != _SPECIFIC_CHARACTER_SET)

    return matches, _ACTIONS[ways[0]]


def _tags(listed: dict[str, Any]) -> frozenset[int]:
    return frozenset(_tag(str(text)) for text in listed.get("tags") or [])


def _tag(text: str) -> int:
    from pydicom import datadict

    # pydicom has elements without a keyword.
    tag = int(text, 16) if _TAG.fullmatch(text) else datadict.tag_for_keyword(text) if text else None
    if tag is None:
        raise ApiError(
            400, f"Invalid tag {text!r}; it must be a keyword or eight hexadecimal digits, such as PatientID or 00100020."
        )
    return tag


def _check_image(config: dict[str, Any], where: str) -> None:
    mode = config.get("textRedactionMode") or "TEXT_REDACTION_MODE_UNSPECIFIED"
    further = [key for key, value in config.items() if key != "textRedactionMode" and value]
    if mode not in ("TEXT_REDACTION_MODE_UNSPECIFIED", "REDACT_NO_TEXT") or further:
        raise ApiError(501, f"The emulator does not redact text in images; {where} can only be REDACT_NO_TEXT.")


def _refuse(config: dict[str, Any], done: Iterable[str], where: str) -> None:
    for key, value in config.items():
        if value is not None and key not in done:
            raise ApiError(501, f"The emulator does not do {where}.{key}.")
