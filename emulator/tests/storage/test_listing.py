"""Listings: what a straightforward model says, and what the clients see."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from gcloud.aio.storage import Storage
from google.cloud import storage
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.healthcare.operations.importing import uri_regex
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.globs import glob_regex

NAMES = ["a", "a/1", "a/2", "a/b/3", "b", "b/", "b/4", "c.txt", "d/5.txt"]

#: Few characters, so that names share prefixes; the last ones are where the order of text and the end of a prefix are delicate.
TEXT = st.text(st.sampled_from("ab/-\0\ud7ff\ue000\U0010ffff"), max_size=5)
OBJECT_NAMES = TEXT.filter(bool)

_NUMBERS = itertools.count()


def put(emulator: Emulator, names: list[str]) -> str:
    """Make a bucket with empty objects of these names; return its name."""
    bucket = f"listed-{next(_NUMBERS)}"
    emulator.storage.objects.create_bucket(bucket)
    for name in names:
        emulator.storage.objects.put_bytes(bucket, name, b"")
    return bucket


def get(emulator: Emulator, bucket: str, **query: Any) -> requests.Response:
    return requests.get(f"{emulator.url}/storage/v1/b/{bucket}/o", params=query)


def pages(emulator: Emulator, bucket: str, **query: Any) -> list[tuple[list[str], list[str]]]:
    """Return the names and the prefixes of each page."""
    found: list[tuple[list[str], list[str]]] = []
    while True:
        answer = get(emulator, bucket, **query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found.append(([item["name"] for item in page.get("items", [])], page.get("prefixes", [])))
        if "nextPageToken" not in page:
            return found
        query["pageToken"] = page["nextPageToken"]


def listed(emulator: Emulator, bucket: str, **query: Any) -> tuple[list[str], list[str]]:
    """Return the names and the prefixes of all pages."""
    found = pages(emulator, bucket, **query)
    return [name for names, _ in found for name in names], [prefix for _, prefixes in found for prefix in prefixes]


def model(
    names: set[str],
    prefix: str = "",
    delimiter: str = "",
    start: str = "",
    end: str = "",
    trailing: bool = False,
) -> tuple[list[str], list[str]]:
    """The listing, straight from the API's description."""
    items, prefixes = [], set()
    for name in names:
        if not name.startswith(prefix) or name < start or (end and name >= end):
            continue
        rest = name[len(prefix) :]
        if delimiter and delimiter in rest:
            group = prefix + rest[: rest.index(delimiter)] + delimiter
            prefixes.add(group)
            if not (trailing and name == group):
                continue
        items.append(name)
    return sorted(items), sorted(prefixes)


class TestListing:
    @pytest.fixture
    def bucket(self, emulator: Emulator) -> str:
        return put(emulator, NAMES)

    def test_all(self, emulator: Emulator, bucket: str):
        assert listed(emulator, bucket) == (NAMES, [])

    def test_nothing(self, emulator: Emulator, bucket: str):
        assert get(emulator, bucket, prefix="x").json() == {"kind": "storage#objects"}

    def test_a_prefix(self, emulator: Emulator, bucket: str):
        assert listed(emulator, bucket, prefix="a/") == (["a/1", "a/2", "a/b/3"], [])

    def test_a_delimiter(self, emulator: Emulator, bucket: str):
        assert listed(emulator, bucket, delimiter="/") == (["a", "b", "c.txt"], ["a/", "b/", "d/"])
        assert listed(emulator, bucket, delimiter="/", prefix="a/") == (["a/1", "a/2"], ["a/b/"])
        assert listed(emulator, bucket, delimiter="/", prefix="b/") == (["b/", "b/4"], [])

    def test_a_trailing_delimiter_is_an_item_too_when_asked(self, emulator: Emulator, bucket: str):
        found = listed(emulator, bucket, delimiter="/", includeTrailingDelimiter="true")
        assert found == (["a", "b", "b/", "c.txt"], ["a/", "b/", "d/"])

    def test_offsets(self, emulator: Emulator, bucket: str):
        assert listed(emulator, bucket, startOffset="a/2", endOffset="b/") == (["a/2", "a/b/3", "b"], [])

    def test_offsets_hide_what_lies_below_a_prefix_as_well(self, emulator: Emulator, bucket: str):
        assert listed(emulator, bucket, delimiter="/", startOffset="a/z") == (["b", "c.txt"], ["b/", "d/"])
        assert listed(emulator, bucket, delimiter="/", endOffset="a/0") == (["a"], [])

    @pytest.mark.parametrize("size", range(1, 6))
    def test_pages_count_items_and_prefixes(self, emulator: Emulator, bucket: str, size: int):
        found = pages(emulator, bucket, delimiter="/", maxResults=size)
        assert {len(names) + len(prefixes) for names, prefixes in found[:-1]} <= {size}
        assert len(found) == -(-6 // size)
        assert listed(emulator, bucket, delimiter="/", maxResults=size) == (["a", "b", "c.txt"], ["a/", "b/", "d/"])

    def test_a_page_has_at_most_a_thousand(self, emulator: Emulator):
        bucket = put(emulator, [f"{n:04}" for n in range(1001)])
        assert [len(names) for names, _ in pages(emulator, bucket, maxResults=5000)] == [1000, 1]

    def test_a_page_goes_on_after_a_name_that_is_gone(self, emulator: Emulator):
        bucket = put(emulator, ["a", "b", "c"])
        first = get(emulator, bucket, maxResults=1).json()
        emulator.storage.objects.delete(bucket, "a")
        emulator.storage.objects.delete(bucket, "b")
        second = get(emulator, bucket, maxResults=1, pageToken=first["nextPageToken"]).json()
        assert [item["name"] for item in second["items"]] == ["c"]

    @pytest.mark.parametrize(
        "query",
        [
            {"maxResults": "0"},
            {"maxResults": "-1"},
            {"maxResults": "x"},
            {"maxResults": "²"},
            {"pageToken": "!"},
            {"pageToken": "YQ"},
            {"pageToken": base64.b64encode(b"\xff").decode()},
            {"matchGlob": "["},
            {"matchGlob": "{a"},
            {"matchGlob": "a}"},
            {"matchGlob": "[z-a]"},
        ],
    )
    def test_nonsense_is_refused(self, emulator: Emulator, bucket: str, query: dict[str, str]):
        assert get(emulator, bucket, **query).status_code == 400

    def test_what_the_emulator_does_not_keep_is_refused(self, emulator: Emulator, bucket: str):
        assert get(emulator, bucket, softDeleted="true").status_code == 501
        assert get(emulator, bucket, softDeleted="false").status_code == 200

    def test_all_versions_of_a_bucket_without_versioning_are_the_live_ones(self, emulator: Emulator, bucket: str):
        assert get(emulator, bucket, versions="true").json() == get(emulator, bucket).json()

    def test_google_s_client(self, client: storage.Client, bucket: str):
        found = client.list_blobs(bucket, prefix="a/", delimiter="/", page_size=1)
        assert [blob.name for blob in found] == ["a/1", "a/2"]
        assert found.prefixes == {"a/b/"}
        assert [blob.name for blob in client.list_blobs(bucket, match_glob="**.txt")] == ["c.txt", "d/5.txt"]
        assert [blob.name for blob in client.list_blobs(bucket, start_offset="b", max_results=2)] == ["b", "b/"]

    async def test_gcloud_aio(self, emulator: Emulator, bucket: str):
        async with Storage() as aio:
            found = await aio.list_objects(bucket, params={"prefix": "a/", "delimiter": "/"})
            assert [item["name"] for item in found["items"]] == ["a/1", "a/2"]
            assert await aio.get_bucket(bucket).list_blobs(prefix="b") == ["b", "b/", "b/4"]

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        names=st.sets(OBJECT_NAMES, max_size=8),
        prefix=TEXT.filter(lambda text: len(text) < 3),
        delimiter=st.sampled_from(["", "/", "a", "ab", "-", "\U0010ffff"]),
        start=TEXT,
        end=TEXT,
        trailing=st.booleans(),
        size=st.integers(1, 4),
    )
    @example({"\U0010ffff", "\U0010ffff\U0010ffffa"}, "\U0010ffff", "\U0010ffff", "", "", False, 1)
    @example({"\ud7ff\ud7ffa", "\ue000"}, "\ud7ff", "\ud7ff", "", "", True, 1)
    def test_equals_the_model(self, emulator, names, prefix, delimiter, start, end, trailing, size):
        bucket = put(emulator, sorted(names))
        query = {"prefix": prefix, "delimiter": delimiter, "startOffset": start, "endOffset": end, "maxResults": size}
        found = listed(emulator, bucket, **query, includeTrailingDelimiter=str(trailing).lower())
        assert found == model(names, prefix, delimiter, start, end, trailing)


class TestMatchGlob:
    """https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob"""

    @pytest.mark.parametrize(
        ("glob", "matches", "others"),
        [
            ("a*", ["a", "ab", "a\n"], ["a/b", "ba"]),
            ("a**", ["a", "a/b", "a/b/c"], ["ba"]),
            ("**/a", ["a", "/a", "b/a", "b/c/a"], ["ba"]),
            ("a/**/b", ["a/b", "a/c/b", "a/c/d/b"], ["ab", "a/cb"]),
            ("a**/b", ["a/b", "a/c/b", "ac/b"], ["ab"]),
            ("a?c", ["abc", "a.c"], ["ac", "a/c", "abbc"]),
            ("[abc]x", ["ax", "cx"], ["dx", "x"]),
            ("[a-c]x", ["ax", "bx"], ["dx", "-x"]),
            ("[!a-c]x", ["dx", "-x"], ["ax", "/x"]),
            ("[-a]", ["-", "a"], ["b"]),
            ("[.-0]", [".", "0"], ["/", "1"]),
            ("{a,b*,c/d}e", ["ae", "be", "bxe", "c/de"], ["e", "ce"]),
            ("a{,b}", ["a", "ab"], ["abb"]),
            ("{a,{b,c}d}", ["a", "bd", "cd"], ["b", "ad"]),
            ("a,b", ["a,b"], ["a", "b"]),
            (r"a\*\?\[\{", ["a*?[{"], ["ab?[{"]),
            (r"[\]]", ["]"], ["\\", "\\]"]),
            (r"[\-a\]b]", ["-", "a", "]", "b"], ["\\", "c"]),
            ("a.b+(c)|^$", ["a.b+(c)|^$"], ["axb+(c)|^$"]),
            (r"[\d]", ["d"], ["1", "\\"]),
            ("[]a]", ["]", "a"], ["[]a]"]),
            ("[!]", ["!"], ["a"]),
            ("[&&a]", ["&", "a"], ["b"]),
            ("é?", ["éü"], ["é"]),
        ],
    )
    def test_means_what_the_documentation_says(self, glob: str, matches: list[str], others: list[str]):
        regex = glob_regex(glob)
        assert [name for name in matches + others if regex.fullmatch(name)] == matches

    @pytest.mark.parametrize("glob", ["[", "[]", "[a", "{", "{a,", "}", "a}b", "[z-a]", "{a,b}}"])
    def test_without_an_end_is_refused(self, glob: str):
        with pytest.raises(ApiError) as error:
            glob_regex(glob)
        assert error.value.code == 400

    def test_filters_objects_and_prefixes(self, emulator: Emulator):
        bucket = put(emulator, ["a.txt", "a/1", "b/1", "b/2.txt"])
        assert listed(emulator, bucket, matchGlob="**.txt") == (["a.txt", "b/2.txt"], [])
        assert listed(emulator, bucket, matchGlob="a*", prefix="a", maxResults=1) == (["a.txt"], [])
        assert listed(emulator, bucket, matchGlob="b**", delimiter="/") == ([], ["b/"])
        assert listed(emulator, bucket, matchGlob="b/*", delimiter="/", prefix="b/") == (["b/1", "b/2.txt"], [])

    @settings(max_examples=400)
    @given(
        glob=st.lists(st.sampled_from(["a", "b", "/", "*", "**", "?", "[ab]", "[!a]", "[a-b]"]), max_size=6),
        name=st.text(st.sampled_from("ab/c"), max_size=6),
    )
    def test_equals_the_model(self, glob: list[str], name: str):
        # Two stars that meet are the two stars of another wildcard.
        tokens = ["**" if len(run) > 1 else run[0] for run in _runs(glob)]
        expected = any(glob_model(some, name) for some in _with_or_without_folders(tokens))
        assert bool(glob_regex("".join(glob)).fullmatch(name)) == expected


class TestImportWildcards:
    """https://cloud.google.com/healthcare-api/docs/reference/rest/v1/projects.locations.datasets.dicomStores/import#GcsSource"""

    @settings(max_examples=300)
    @given(
        pattern=st.lists(st.sampled_from(["a", "b", "/", ".", "*", "?", "["]), max_size=6),
        ending=st.sampled_from(["", "**", "**.b"]),
        name=st.text(st.sampled_from("ab/.["), max_size=6),
    )
    def test_equals_the_model(self, pattern: list[str], ending: str, name: str):
        if ending:
            pattern = [token for token in pattern if token not in "*?"]
        tokens = [*_runs_of_one_star(pattern), *(["**"] if ending else []), *(".b" if ending == "**.b" else "")]
        assert bool(uri_regex("".join(tokens)).fullmatch(name)) == glob_model(tokens, name)


def _runs(glob: list[str]) -> list[list[str]]:
    """Split into tokens, all stars in a row together."""
    return [
        part
        for stars, group in itertools.groupby(glob, key=lambda token: token.startswith("*"))
        for part in ([list(group)] if stars else [[token] for token in group])
    ]


def _runs_of_one_star(pattern: list[str]) -> list[str]:
    """Leave out a star that follows a star."""
    return [token for n, token in enumerate(pattern) if token != "*" or n == 0 or pattern[n - 1] != "*"]


def glob_model(tokens: list[str], name: str) -> bool:
    """Match a glob by trying everything."""
    if not tokens:
        return not name
    token, *rest = tokens
    if token == "**":
        return any(glob_model(rest, name[end:]) for end in range(len(name) + 1))
    if token == "*":
        return any(glob_model(rest, name[end:]) for end in range(len(name.partition("/")[0]) + 1))
    if not name:
        return False
    char = name[0]
    if token == "?" or token.startswith("[!"):
        fits = char not in "/" + token[2:-1]
    elif token == "[a-b]":
        fits = char in "ab"
    elif len(token) > 1:
        fits = char in token[1:-1]
    else:
        fits = char == token
    return fits and glob_model(rest, name[1:])


def _with_or_without_folders(tokens: list[str]) -> Iterator[list[str]]:
    """Yield what a glob may mean: two stars that stand for folders may stand for none."""
    yield tokens
    for at, (one, following) in enumerate(itertools.pairwise(tokens)):
        if (one, following) == ("**", "/") and (at == 0 or tokens[at - 1] == "/"):
            yield from _with_or_without_folders(tokens[:at] + tokens[at + 2 :])
