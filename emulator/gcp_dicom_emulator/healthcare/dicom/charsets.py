"""Which characters bytes mean. Sources: PS3.3, C.12.1.1.2; PS3.5, 6.1 and annexes H to K."""

from __future__ import annotations

import codecs
import functools
import re

#: Python encodings, the first being the one without escape sequences.
Charset = tuple[str, ...]
DEFAULT_CHARSET: Charset = ("iso8859",)
_ESCAPE = 0x1B
#: What ends the effect of an escape sequence.
_CONTROLS, _NAME_DELIMITERS = frozenset(b"\n\f\r\t\\"), frozenset(b"^=\\")
_TERM = re.compile(r"ISO[ _-]*(2022)?[ _-]*IR[ _-]*([0-9]{1,3})", re.IGNORECASE)
#: Without code extensions; Latin alphabet No. 9 came into the standard in 2022.
_NOT_IN_PYDICOM = {"ISO_IR 203": "iso8859_15"}
#: pydicom takes this for a part of the text.
_IR_58 = "\x1b$)A"


@functools.lru_cache(1000)
def charset(declared: str) -> Charset:
    """Return the characters that a *Specific Character Set* means; the default ones for what is none."""
    from pydicom import charset

    terms = [_corrected(term.strip("\0 ")) for term in declared.split("\\")]
    if terms[0] in _NOT_IN_PYDICOM:
        return (_NOT_IN_PYDICOM[terms[0]],)
    try:
        encodings = charset.convert_encodings(terms)
    except ValueError:  # Python does not even look for such a name
        return DEFAULT_CHARSET
    return tuple(encoding if _is_known(encoding) else DEFAULT_CHARSET[0] for encoding in encodings)


def _corrected(term: str) -> str:
    """Return a defined term of which the blanks, hyphens and underscores, or the case, are others than the standard's."""
    found = _TERM.fullmatch(term)
    if not found:
        return term
    extended, number = found.groups()
    # Unicode has no code extensions.
    return f"ISO 2022 IR {number}" if extended and number != "192" else f"ISO_IR {number}"


def _is_known(encoding: str) -> bool:
    """Return whether an encoding is one of DICOM: pydicom takes any name that Python knows, such as ``rot13``."""
    from pydicom import charset

    return codecs.lookup(encoding).name in {codecs.lookup(known).name for known in charset.python_encoding.values()}


def decode(data: bytes, encodings: Charset, *, is_name: bool) -> str:
    """Return the text that bytes mean; what means nothing is U+FFFD."""
    if _ESCAPE in data:
        from pydicom import charset

        return charset.decode_bytes(data, encodings, set(_NAME_DELIMITERS if is_name else _CONTROLS)).replace(_IR_58, "")
    return data.decode("ascii") if data.isascii() else data.decode(encodings[0], errors="replace")
