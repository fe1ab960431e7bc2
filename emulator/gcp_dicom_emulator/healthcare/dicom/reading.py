"""The one way to read a DICOM file: every element that it has, or where reading stopped and why.

pydicom returns what it read until a file ended, or nothing, without a word; here that is an error. What dcmtk reads, this reads as
well, but for what would lose something. Sources: PS3.5, sections 7 and annex A; PS3.10, section 7.
"""

from __future__ import annotations

import functools
import mmap
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gcp_dicom_emulator.healthcare.dicom.charsets import DEFAULT_CHARSET, Charset, charset

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

    Elements = dict[int, "Element"]

IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: Deflated little endian, and the JPIP syntaxes that are deflated.
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
_SHORT_VRS = {vr: vr.decode() for vr in b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()}
_LONG_VRS = {vr: vr.decode() for vr in b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()}
#: Value representations that have four bytes for their length.
LONG_VRS = frozenset(_LONG_VRS.values())
#: Value representations of bytes that are not a sequence where their length is undefined.
BYTES = ("OB", "OW", "OD", "OF", "OL", "OV")
#: Float Pixel Data, Double Float Pixel Data, Pixel Data.
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
#: What an item begins with, in either order of the bytes.
_ITEM_HEADS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRANSFER_SYNTAX, _EXTENDED_OFFSETS = 0x00020010, 0x7FE00001
_PIXEL_REPRESENTATION, _LUT_DESCRIPTOR, _LUT_DATA = 0x00280103, 0x00283002, 0x00283006
_UNDEFINED = 0xFFFFFFFF
#: Of sequences in sequences. Not a limit of DICOM; dcmtk reads more, Python's JSON does not write many more.
_MAX_DEPTH = 128
#: A file that is larger is not read into memory as a whole, a deflated one not inflated beyond; in bytes.
_SMALL, _MAX_INFLATED = 1 << 20, 256 << 20
STUDY, SERIES, INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
UIDS = {STUDY: "StudyInstanceUID", SERIES: "SeriesInstanceUID", INSTANCE: "SOPInstanceUID"}
_CHARACTER_SET = 0x00080005


class CannotRead(Exception):
    """A file that cannot be read whole; the text says where reading stopped and why."""


class _Ended(CannotRead):
    """A file that ends too early."""


class Element(NamedTuple):
    """An element, as it stands in a file.

    :param tag: group and element as one number.
    :param vr: the value representation; what the dictionary has where the file says nothing, or nothing readable.
    :param data: the file's bytes.
    :param start: where the value begins in them.
    :param end: where it ends; of a sequence, behind its last item.
    :param little: whether its words are little endian.
    :param undefined: whether its length is.
    :param items: of a sequence.
    :param fragments: of encapsulated pixels, the first being the offset table: where each begins and ends.
    """

    tag: int
    vr: str
    data: bytes | mmap.mmap
    start: int
    end: int
    little: bool
    undefined: bool = False
    items: list[Item] | None = None
    fragments: list[tuple[int, int]] | None = None

    @property
    def value(self) -> bytes:
        """The bytes of the value, as they stand."""
        return self.data[self.start : self.end]

    @property
    def text(self) -> str:
        """The value of what needs no character set, such as a UID, without its padding."""
        return self.value.decode("latin-1").strip("\0 ")


class Item(NamedTuple):
    """An item of a sequence.

    :param undefined: whether its length is.
    """

    elements: Elements
    undefined: bool


@dataclass
class File:
    """What a file has.

    :param preamble: its first 128 bytes.
    :param meta: the file meta information.
    :param elements: of the data set, by tag, in the file's order.
    :param implicit: whether value representations are not written, whatever the header says.
    :param little: whether the data set is little endian.
    """

    preamble: bytes
    meta: Elements
    elements: Elements
    implicit: bool
    little: bool

    @property
    def transfer_syntax(self) -> str:
        """What the header says; ``""`` for nothing."""
        found = self.meta.get(_TRANSFER_SYNTAX)
        return found.text if found else ""

    @property
    def is_as_declared(self) -> bool:
        """Whether the data set is written in the transfer syntax that the header says."""
        declared = self.transfer_syntax
        return bool(declared) and self.implicit == (declared == IMPLICIT_LITTLE_ENDIAN)

    def uid(self, tag: int) -> str:
        """Return a UID of the data set; ``""`` where it has none."""
        found = self.elements.get(tag)
        return found.text if found and found.vr == "UI" else ""


def read(path: Path, *, cut_pixels: bool = False) -> File:
    """Read all elements of a file.

    :param cut_pixels: whether a file that ends within its pixels is as good as a whole one.
    :raises CannotRead: it does not have what its lengths say, or is not DICOM as PS3.10 has it.
    :raises FileNotFoundError: there is no file.
    """
    if path.stat().st_size < _SMALL:
        return parse(path.read_bytes(), cut_pixels=cut_pixels)
    with path.open("rb") as file:
        return parse(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), cut_pixels=cut_pixels)


def parse(data: bytes | mmap.mmap, *, cut_pixels: bool = False) -> File:
    """Read all elements of a file's bytes, as :func:`read` does."""
    if data[128:132] != b"DICM":
        raise CannotRead("not a DICOM file: the DICM prefix is missing")
    meta, start = _Reader(data, implicit=False, little=True).file_meta(132)
    syntax = meta[_TRANSFER_SYNTAX].text if _TRANSFER_SYNTAX in meta else ""
    preamble = data[:128]
    if syntax in DEFLATED:
        data, start = _inflated(data, start), 0
    little = syntax != EXPLICIT_BIG_ENDIAN
    implicit = _is_implicit(data, start, syntax == IMPLICIT_LITTLE_ENDIAN, little)
    elements = _Reader(data, implicit=implicit, little=little, cut_pixels=cut_pixels).data_set(start)
    return File(preamble, meta, elements, implicit, little)


def read_dataset(path: Path, uids: Sequence[str] = (), *, open_bytes: bool = False) -> FileDataset:
    """Read a file as pydicom's data set, with all of its elements.

    ``get_item()`` returns an element as it stands, with its value representation; ``[]`` and attributes decode it.

    :param uids: study, series and instance, as the store knows them.
    :param open_bytes: whether bytes that are a sequence's items become a sequence.
    :raises CannotRead: it cannot be read whole, or has other UIDs.
    :raises FileNotFoundError: there is no file.
    """
    import pydicom
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    file = read(path)
    for (tag, keyword), uid in zip(UIDS.items(), uids, strict=False):
        if file.uid(tag) != uid:
            raise CannotRead(f"{keyword} is {file.uid(tag)!r}; the store knows it as {uid!r}")
    meta = pydicom.dataset.FileMetaDataset(_pydicom_elements(file.meta, False, DEFAULT_CHARSET))
    meta.set_original_encoding(False, True)
    opened = _opened(file.elements) if open_bytes else file.elements
    elements = _pydicom_elements(opened, file.implicit, DEFAULT_CHARSET)
    dataset = pydicom.FileDataset(str(path), elements, file.preamble, meta, file.implicit, file.little)
    dataset.set_original_encoding(file.implicit, file.little, list(charset_of(file.elements, DEFAULT_CHARSET)))
    return dataset


def _pydicom_elements(elements: Elements, implicit: bool, around: Charset) -> dict[Any, Any]:
    """Return elements as pydicom has them.

    :param around: the characters of the data set that they are in an item of.
    """
    from pydicom import dataelem, sequence
    from pydicom import tag as tags

    encodings = charset_of(elements, around)
    found: dict[Any, Any] = {}
    for number, element in elements.items():
        tag = tags.BaseTag(number)
        if element.items is not None:
            items = [_pydicom_item(item, implicit, element.little, encodings) for item in element.items]
            found[tag] = dataelem.DataElement(tag, "SQ", sequence.Sequence(items), is_undefined_length=element.undefined)
        else:
            value = _encapsulated(element, elements) if element.fragments is not None else element.value
            length = _UNDEFINED if element.fragments is not None else len(value)
            found[tag] = dataelem.RawDataElement(tag, element.vr, length, value, element.start, implicit, element.little)
    return found


def _pydicom_item(item: Item, implicit: bool, little: bool, around: Charset) -> Dataset:
    from pydicom import Dataset

    dataset = Dataset(_pydicom_elements(item.elements, implicit, around), parent_encoding=list(around))
    dataset.set_original_encoding(implicit, little, list(charset_of(item.elements, around)))
    dataset.is_undefined_length_sequence_item = item.undefined
    return dataset


def is_like_a_sequence(tag: int, vr: str, value: Any) -> bool:
    """Return whether bytes begin as the items of a sequence do, which private elements often are where files do not say it."""
    return vr in ("UN", "OB") and tag not in PIXELS and isinstance(value, bytes) and value.startswith(_ITEM_HEADS)


def _opened(elements: Elements) -> Elements:
    """Return elements, at any depth those as sequences whose bytes are the items of one."""
    opened: Elements = {}
    for tag, element in elements.items():
        items = element.items
        begin = element.data[element.start : min(element.end, element.start + 4)]
        if items is None and element.fragments is None and is_like_a_sequence(tag, element.vr, begin):
            items = _items(element.value, elements)
        if items is not None:
            items = [Item(_opened(item.elements), item.undefined) for item in items]
        opened[tag] = element if items is None else element._replace(vr="SQ", items=items)
    return opened


def _items(value: bytes, elements: Elements) -> list[Item] | None:
    """Return the items that bytes are, or ``None``. They should be implicit (PS3.5, 6.2.2), but some files have them explicit."""
    implicit = _is_implicit(value, 8, True, True)
    for way in (implicit, not implicit):
        try:
            return _Reader(value, implicit=way, little=True, strict=True)._sequence(
                0, 0, len(value), (elements,), way, defined=True
            )[0]
        except CannotRead:
            continue
    return None


def charset_of(elements: Elements, around: Charset) -> Charset:
    """Return in which characters a data set's texts are.

    :param around: in which those of the data set are that it is an item of.
    """
    declared = elements.get(_CHARACTER_SET)
    # Empty it says nothing: dcmtk has it so, too.
    return charset(declared.text) if declared and declared.text else around


def _encapsulated(element: Element, elements: Elements) -> bytes:
    """Return encapsulated pixels, each fragment of even length, as PS3.5, A.4 wants it."""
    fragments = element.fragments or []
    if all((end - start) % 2 == 0 for start, end in fragments):
        return element.value
    if _EXTENDED_OFFSETS in elements:
        raise CannotRead("a fragment of the pixels has an odd length, and an extended offset table points behind it")
    contents = [element.data[start:end] for start, end in fragments]
    table = contents[0]
    if len(table) % 4 == 0:
        contents[0] = _moved(struct.unpack(f"<{len(table) // 4}I", table), [len(content) for content in contents[1:]])
    padded = (content + b"\0" * (len(content) % 2) for content in contents)
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content for content in padded)


def _moved(offsets: Sequence[int], lengths: list[int]) -> bytes:
    """Return an offset table whose offsets know of the bytes that pad fragments."""
    moved, before, after = {}, 0, 0
    for length in lengths:
        moved[before] = after
        before, after = before + 8 + length, after + 8 + length + length % 2
    return struct.pack(f"<{len(offsets)}I", *(moved.get(offset, offset) for offset in offsets))


def _inflated(data: bytes | mmap.mmap, start: int) -> bytes:
    inflater, found, rest = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), data[start:]
    try:
        while rest and not inflater.eof:
            found += inflater.decompress(rest, _SMALL)
            rest = inflater.unconsumed_tail
            if len(found) > _MAX_INFLATED:
                raise CannotRead(f"inflated, it is larger than {_MAX_INFLATED >> 20} MiB")
    except zlib.error as error:
        raise CannotRead(f"the deflated data set is broken: {error}") from error
    if not inflater.eof:
        raise CannotRead("the file ends before its deflated data set does")
    return bytes(found)


def _is_implicit(data: bytes | mmap.mmap, start: int, declared: bool, little: bool) -> bool:
    """Return whether a data set's first element has no value representation: headers may lie."""
    vr = data[start + 4 : start + 6]
    if len(vr) < 2 or vr in _SHORT_VRS or vr in _LONG_VRS:
        return declared and len(vr) < 2
    if declared or not little:
        return little
    (length,) = struct.unpack("<I", data[start + 4 : start + 8].ljust(4, b"\xff"))
    return bool(length == _UNDEFINED or length <= len(data) - start - 8)


class _Reader:
    """Reads elements out of a file's bytes.

    :param implicit: whether value representations are not written.
    :param cut_pixels: whether the data may end within pixels.
    :param strict: whether a value representation that cannot be read is an error.
    """

    def __init__(
        self, data: bytes | mmap.mmap, *, implicit: bool, little: bool, cut_pixels: bool = False, strict: bool = False
    ) -> None:
        self._data = data
        self._implicit = implicit
        self._little = little
        self._cut_pixels = cut_pixels
        self._strict = strict
        order = "<" if little else ">"
        self._implicit_head = struct.Struct(f"{order}HHI")
        self._explicit_head = struct.Struct(f"{order}HH2sH")
        self._long = struct.Struct(f"{order}I")
        #: Groups of commands, and of the file meta information, which is read apart; what is left of a group by the file's end.
        self._headers = (struct.pack(f"{order}H", 0), struct.pack(f"{order}H", 2), b"\0")

    def file_meta(self, start: int) -> tuple[Elements, int]:
        """Return the elements of group 2 and where they end, whatever their group length says."""
        elements: Elements = {}
        position = start
        while self._data[position : position + 2] == b"\x02\x00":
            position = self._element(elements, position, len(self._data), (elements,), self._implicit)
        return elements, position

    def data_set(self, start: int) -> Elements:
        """Return the elements from a position to the end."""
        elements: Elements = {}
        self._elements(elements, start, len(self._data), (elements,), self._implicit)
        return elements

    def _elements(self, elements: Elements, start: int, end: int, around: tuple[Elements, ...], implicit: bool) -> None:
        """Read elements up to an end that is known.

        :param elements: takes them.
        :param around: the data sets that they are in, theirs the last.
        """
        position = start
        while position < end:
            if not implicit:
                position = self._plain_elements(elements, position, end)
            if len(around) == 1 and self._data[position : position + 2] in self._headers:
                if self._data[position:end].strip(b"\0"):
                    raise CannotRead(_at(position, "an element of group 0000 or 0002 is not one of a data set"))
                return  # Devices pad files to blocks.
            if position < end:
                position = self._element(elements, position, end, around, implicit)

    def _plain_elements(self, elements: Elements, start: int, end: int) -> int:
        """Read the elements that need no thought, as nearly all do, without a call for each; return where another one begins."""
        data, little, head, vrs, new = self._data, self._little, self._explicit_head.unpack_from, _SHORT_VRS, tuple.__new__
        position = start
        while position + 8 <= end:
            group, number, written, length = head(data, position)
            vr, tag, value = vrs.get(written), group << 16 | number, position + 8
            if vr is None or group < 3 or tag in elements or value + length > end:
                break
            position = value + length
            elements[tag] = new(Element, (tag, vr, data, value, position, little, False, None, None))
        return position

    def _element(self, elements: Elements, start: int, end: int, around: tuple[Elements, ...], implicit: bool) -> int:
        """Read an element; return where it ends."""
        tag, vr, length, position = self._element_head(start, end, implicit)
        if tag >> 16 == 0xFFFE:
            raise CannotRead(_at(start, f"{_name(tag)}, of an item or a delimiter, is where an element is expected"))
        if tag in elements:
            again: Elements = {}
            after = self._element(again, start, end, around, implicit)
            if (again[tag].vr, again[tag].value) != (elements[tag].vr, elements[tag].value):
                raise CannotRead(_at(start, f"{_name(tag)} is there twice, with different values"))
            return after
        unknown = vr in ("", "UN")
        little = self._little or vr == "UN"  # what is unknown is little endian: PS3.5, 6.2.2
        if not vr or (unknown and (length < 0xFFFF or length == _UNDEFINED)):
            vr = _known_vr(tag, around, length) or "UN"
        if self._cut_pixels and tag in PIXELS and len(around) == 1 and self._is_cut(tag, position, end, length):
            elements[tag] = Element(tag, vr, self._data, position, end, little)
            return end
        if length == _UNDEFINED and vr in BYTES:
            fragments, after = self._fragments(tag, position, end)
            elements[tag] = Element(tag, vr, self._data, position, after - 8, little, undefined=True, fragments=fragments)
            return after
        after = end if length == _UNDEFINED else position + length
        if after > end:
            what = "the file" if len(around) == 1 else "the item around it"
            raise CannotRead(_at(start, f"{_name(tag)} has {length} bytes, and {what} only {end - position} more"))
        items = None
        if vr == "SQ" or length == _UNDEFINED:
            # In a UN is a sequence of implicit little endian: PS3.5, 6.2.2.
            reader = self if little == self._little else _Reader(self._data, implicit=True, little=True, strict=self._strict)
            try:
                items, after = reader._sequence(tag, position, after, around, implicit or unknown, length != _UNDEFINED)
            except CannotRead:
                if implicit or not unknown or length == _UNDEFINED:
                    raise
                vr = "UN"  # The file does not say that it is a sequence, only the dictionary does.
        vr = vr if items is None else "SQ"
        elements[tag] = Element(tag, vr, self._data, position, after, little, length == _UNDEFINED, items)
        return after

    def _element_head(self, start: int, end: int, implicit: bool) -> tuple[int, str, int, int]:
        """Return an element's tag, its VR (``""`` where none can be read), its length, and where its value begins."""
        if start + 8 > end:
            raise CannotRead(_at(start, f"{end - start} bytes are left, fewer than an element has"))
        if implicit:
            group, number, length = self._implicit_head.unpack_from(self._data, start)
            return group << 16 | number, "", length, start + 8
        group, number, written, length = self._explicit_head.unpack_from(self._data, start)
        tag = group << 16 | number
        if self._strict and written not in _SHORT_VRS and written not in _LONG_VRS:
            raise CannotRead(_at(start, f"{_name(tag)} has the value representation {written!r}"))
        # As dcmtk has it: a VR to come has a long length, what is not even letters is an error and has a short one.
        if written not in _LONG_VRS and (written in _SHORT_VRS or not (written.isalpha() and written.isupper())):
            return tag, _SHORT_VRS.get(written, ""), length, start + 8
        if start + 12 > end:
            raise CannotRead(_at(start, f"{end - start} bytes are left, fewer than {_name(tag)} has"))
        (length,) = self._long.unpack_from(self._data, start + 8)
        return tag, _LONG_VRS.get(written, ""), length, start + 12

    def _is_cut(self, tag: int, position: int, end: int, length: int) -> bool:
        """Return whether the file ends within pixels."""
        if length != _UNDEFINED:
            return position + length > end
        try:
            self._fragments(tag, position, end)
        except _Ended:
            return True
        return False

    def _sequence(
        self, tag: int, start: int, end: int, around: tuple[Elements, ...], implicit: bool, defined: bool = False
    ) -> tuple[list[Item], int]:
        """Read the items of a sequence; return them and where the sequence ends.

        :param end: of the sequence if that is ``defined``, else of what it is in.
        """
        if len(around) > _MAX_DEPTH:
            raise CannotRead(_at(start, f"{_name(tag)} is nested deeper than {_MAX_DEPTH} levels"))
        items: list[Item] = []
        position = start
        while not (defined and position == end):
            kind, length, position = self._item_head(tag, position, end)
            if kind == _SEQUENCE_END:
                if defined and position != end:
                    raise CannotRead(_at(position - 8, f"{_name(tag)} ends before its length does"))
                break
            if kind != _ITEM:
                raise CannotRead(_at(position - 8, f"{_name(kind)} is where an item of {_name(tag)} is expected"))
            elements: Elements = {}
            way = implicit or self._is_implicit_item(position, end if length == _UNDEFINED else min(end, position + length))
            if length == _UNDEFINED:
                position = self._undefined_item(tag, elements, position, end, (*around, elements), way)
            else:
                if position + length > end:
                    raise CannotRead(
                        _at(position - 8, f"an item of {_name(tag)} has {length} bytes; only {end - position} are left")
                    )
                self._elements(elements, position, position + length, (*around, elements), way)
                position += length
            items.append(Item(elements, length == _UNDEFINED))
        return items, position

    def _is_implicit_item(self, position: int, end: int) -> bool:
        """Return whether an item has no value representations where all else has them, as private ones of some devices."""
        vr = self._data[position + 4 : position + 6]
        if not self._little or position + 8 > end or min(vr) >= 0x20 or self._data[position : position + 2] == b"\xfe\xff":
            return False
        (length,) = self._long.unpack_from(self._data, position + 4)
        return bool(length == _UNDEFINED or position + 8 + length <= end)

    def _undefined_item(
        self, tag: int, elements: Elements, start: int, end: int, around: tuple[Elements, ...], implicit: bool
    ) -> int:
        position = start
        while True:
            if not implicit:
                position = self._plain_elements(elements, position, end)
            kind, _, after = self._item_head(tag, position, end)
            if kind == _ITEM_END:
                return after
            position = self._element(elements, position, end, around, implicit)

    def _fragments(self, tag: int, start: int, end: int) -> tuple[list[tuple[int, int]], int]:
        """Return where each fragment of encapsulated pixels begins and ends, and where the next element begins."""
        fragments: list[tuple[int, int]] = []
        position = start
        while True:
            kind, length, position = self._item_head(tag, position, end)
            if kind == _SEQUENCE_END:
                return fragments, position
            if kind != _ITEM or length == _UNDEFINED:
                raise CannotRead(_at(position - 8, f"{_name(kind)} is where a fragment of {_name(tag)} is expected"))
            if position + length > end:
                reason = f"a fragment of {_name(tag)} has {length} bytes, and the file only {end - position} more"
                raise _Ended(_at(position - 8, reason))
            fragments.append((position, position + length))
            position += length

    def _item_head(self, tag: int, position: int, end: int) -> tuple[int, int, int]:
        """Return the tag and the length of an item or a delimiter of an element, and where it begins."""
        if position + 8 > end:
            raise _Ended(_at(position, f"what {_name(tag)} is in ends, and {_name(tag)} does not"))
        group, number, length = self._implicit_head.unpack_from(self._data, position)
        return group << 16 | number, length, position + 8


def _at(position: int, reason: str) -> str:
    return f"at byte {position}: {reason}"


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _known_vr(tag: int, around: tuple[Elements, ...], length: int) -> str:
    """Return the VR of an element whose file does not say it; ``""`` where nobody knows.

    :param around: the data sets that it is in, its own the last.
    :param length: of the value.
    """
    group, number = tag >> 16, tag & 0xFFFF
    if group % 2:
        if 0x10 <= number <= 0xFF:
            return "LO"
        creator = around[-1].get(group << 16 | number >> 8)
        vr = _private_vr(tag, creator.text) if creator and number > 0xFF else ""
    else:
        vr = _dictionary_vr(tag)
    if " or " in vr:
        vr = _one_of(vr, tag, around, length)
    # An unknown element of undefined length is a sequence.
    return vr or ("SQ" if length == _UNDEFINED else "")


@functools.cache
def _dictionary_vr(tag: int) -> str:
    from pydicom import datadict

    if tag & 0xFFFF == 0:
        return "UL"
    try:
        return datadict.dictionary_VR(tag)
    except KeyError:
        return ""


@functools.lru_cache(10_000)
def _private_vr(tag: int, creator: str) -> str:
    from pydicom import datadict

    try:
        return datadict.private_dictionary_VR(tag, creator)
    except KeyError:
        return ""


def _one_of(vrs: str, tag: int, around: tuple[Elements, ...], length: int) -> str:
    """Return which VR it is of those that the dictionary has, such as ``US or SS`` (PS3.5, annex A)."""
    if "OB" in vrs:
        # Curves and audio are bytes for dcmtk as well; overlays, waveforms and pixels are words wherever VRs are not written.
        return "OB" if tag >> 24 == 0x50 else "OW"
    if tag == _LUT_DATA:
        descriptor = around[-1].get(_LUT_DESCRIPTOR)
        return "US" if descriptor and descriptor.value[:2] == (b"\1\0" if descriptor.little else b"\0\1") else "OW"
    if "OW" in vrs and length > 2:
        return "OW"
    for elements in reversed(around):
        if representation := elements.get(_PIXEL_REPRESENTATION):
            return "SS" if any(representation.value) else "US"
    return "US"
