"""``matchGlob`` of ``objects.list``.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
"""

from __future__ import annotations

import re

from gcp_dicom_emulator.rest.errors import ApiError


def glob_regex(glob: str) -> re.Pattern[str]:
    """Return what matches the same names as a glob: ``*``, ``**``, ``?``, ``[abc]``, ``[a-z]``, ``[!a]``, ``{a,b}``.

    :raises ApiError: 400 for a bracket or brace without an end.
    """
    pattern, end = _translate(glob, 0, "")
    if end != len(glob):
        raise ApiError(400, f"matchGlob {glob!r} has a '}}' without a '{{'.")
    return re.compile(pattern, re.DOTALL)


def _translate(glob: str, position: int, inside: str) -> tuple[str, int]:
    """Translate up to the end, or inside braces up to the ``,`` or ``}`` that ends an alternative."""
    pattern = ""
    while position < len(glob):
        char = glob[position]
        if char in inside or (char == "}" and not inside):
            break
        if char == "*":
            stars = len(glob[position:]) - len(glob[position:].lstrip("*"))
            begins_a_folder = position == 0 or glob[position - 1] == "/"
            position += stars
            if stars > 1 and begins_a_folder and glob[position : position + 1] == "/":
                pattern += "(?:.*/)?"  # any folders, or none
                position += 1
            else:
                pattern += ".*" if stars > 1 else "[^/]*"
        elif char == "?":
            pattern += "[^/]"
            position += 1
        elif char == "[":
            text, position = _bracket(glob, position)
            pattern += text
        elif char == "{":
            text, position = _braces(glob, position)
            pattern += text
        else:
            if char == "\\" and position + 1 < len(glob):
                position += 1
            pattern += re.escape(glob[position])
            position += 1
    return pattern, position


def _bracket(glob: str, start: int) -> tuple[str, int]:
    # The first character is not the end: ``[]a]`` has a bracket and an ``a``.
    match = re.compile(r"\[([!^]?)((?:\\.|[^\\])(?:\\.|[^\\\]])*)\]", re.DOTALL).match(glob, start)
    if not match:
        raise ApiError(400, f"matchGlob {glob!r} has a '[' without a ']'.")
    negation, content = match.groups()
    # Inside a class only these mean something; '-' between two characters is a range, as in the glob.
    escaped = re.sub(r"\\(.)|[\\\[\]^&~|]", lambda char: re.escape(char[1] or char[0]), content, flags=re.DOTALL)
    pattern = f"(?!/)[{'^' if negation else ''}{escaped}]"
    try:
        re.compile(pattern)
    except re.error as error:
        raise ApiError(400, f"matchGlob {glob!r} has a bad range in {content!r}.") from error
    return pattern, match.end()


def _braces(glob: str, start: int) -> tuple[str, int]:
    alternatives, position = [], start
    while position < len(glob) and glob[position] in "{,":
        text, position = _translate(glob, position + 1, ",}")
        alternatives.append(text)
    if position >= len(glob):
        raise ApiError(400, f"matchGlob {glob!r} has a '{{' without a '}}'.")
    return f"(?:{'|'.join(alternatives)})", position + 1
