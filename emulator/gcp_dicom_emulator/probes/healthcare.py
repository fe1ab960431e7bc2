"""Probes of the Healthcare API. The docstring of each is what the documentation leaves open; it returns what was answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

from gcp_dicom_emulator.probes.endpoint import Endpoint, instance


def duplicate(at: Endpoint) -> str:
    """Is a duplicate, which an import ignores, a success?"""
    uri = at.put("duplicate/1.dcm", instance())
    return (
        f"The `counter` of the second import is {_counter(at.run(at.store(instance()), 'import', {'gcsSource': {'uri': uri}}))}."
    )


def partial_failure(at: Endpoint) -> str:
    """Does an operation in which single instances failed have an `error` or a `response`? Pages disagree."""
    at.put("partial/1.dcm", instance())
    at.put("partial/2.dcm", b"this is not DICOM")
    ended = at.run(at.new_store(), "import", {"gcsSource": {"uri": f"gs://{at.bucket}/partial/**"}})
    return f"{_end(ended)} The `counter` is {_counter(ended)}."


def no_bucket_to_import_from(at: Endpoint) -> str:
    """An import's bucket does not exist."""
    return _end(at.run(at.new_store(), "import", {"gcsSource": {"uri": f"gs://{at.bucket}-not/**"}}))


def no_bucket_to_export_to(at: Endpoint) -> str:
    """An export's bucket does not exist."""
    return _end(at.run(at.store(instance()), "export", {"gcsDestination": {"uriPrefix": f"gs://{at.bucket}-not/out"}}))


def nothing_matches(at: Endpoint) -> str:
    """No object matches an import's URI."""
    ended = at.run(at.new_store(), "import", {"gcsSource": {"uri": f"gs://{at.bucket}/nothing/**"}})
    return f"{_end(ended)} The `counter` is {_counter(ended)}."


def question_mark(at: Endpoint) -> str:
    """Does `?` in an import's URI match `/`?"""
    at.put("question/1.dcm", instance())
    ended = at.run(at.new_store(), "import", {"gcsSource": {"uri": f"gs://{at.bucket}/question?1.dcm"}})
    return "Yes." if ended["metadata"].get("counter", {}).get("success") else "No."


def folder(at: Endpoint) -> str:
    """A folder (`gs://bucket/dir/`) as an import's URI."""
    at.put("folder/1.dcm", instance())
    return _end(at.run(at.new_store(), "import", {"gcsSource": {"uri": f"gs://{at.bucket}/folder/"}}))


def plain_mime_type(at: Endpoint) -> str:
    """`application/dicom` without a transfer syntax as an export's `mimeType`, of an instance in Implicit VR Little Endian."""
    import pydicom

    destination = {"uriPrefix": f"gs://{at.bucket}/plain", "mimeType": "application/dicom"}
    ended = at.run(at.store(instance()), "export", {"gcsDestination": destination})
    written = [pydicom.dcmread(BytesIO(at.content(name))) for name in at.names("plain/")]
    return " ".join([_end(ended), *(f"What is written is {one.file_meta.TransferSyntaxUID.name}." for one in written)])


def lines_that_are_not_paths(at: Endpoint) -> str:
    """Lines of a filter that are not paths: a header, a comment, a path without its leading slash."""
    filter_uri = at.put("filter/lines.txt", b"path\n# comment\nstudies/2.25.11\n/studies/2.25.21\n")
    body = {
        "gcsDestination": {"uriPrefix": f"gs://{at.bucket}/lines"},
        "filterConfig": {"resourcePathsGcsUri": filter_uri},
    }
    ended = at.run(at.store(instance(1), instance(2)), "export", body)
    came = len(at.names("lines/"))
    return f"{_end(ended)} The third line names an instance, and the fourth, a path, another one: {came} came."


def operation_ids(at: Endpoint) -> str:
    """Operation ids."""
    uri = at.put("ids/1.dcm", instance())
    name = at.run(at.new_store(), "import", {"gcsSource": {"uri": uri}})["name"]
    return "Decimal numbers." if re.fullmatch(r".*/operations/[0-9]+", name) else f"Such as {name.rpartition('/')[2]}."


def type_of_response(at: Endpoint) -> str:
    """The type of an import's `response`."""
    uri = at.put("type/1.dcm", instance())
    response = at.run(at.new_store(), "import", {"gcsSource": {"uri": uri}}).get("response", {})
    return f"`{response.get('@type', 'none')}`."


def cancel_of_the_finished(at: Endpoint) -> str:
    """Cancelling a finished operation."""
    ended = at.run(at.store(), "import", {"gcsSource": {"uri": at.put("cancel/1.dcm", instance())}})
    answer = at.ask("POST", f"/v1/{ended['name']}:cancel", {})
    again = at.ask("GET", f"/v1/{ended['name']}").json
    return f"{answer.status}. {'Nothing changes.' if again == ended else 'The operation changes.'}"


def no_such_operation(at: Endpoint) -> str:
    """An operation that does not exist."""
    return f"{at.ask('GET', f'/v1/{at.dataset}/operations/1').status}."


def no_such_store(at: Endpoint) -> str:
    """A store that does not exist."""
    return f"{at.ask('GET', f'/v1/{at.dataset}/dicomStores/missing').status}."


def largest_page(at: Endpoint) -> str:
    """A page of `operations.list` of more operations than there may be."""
    return f"{at.ask('GET', f'/v1/{at.dataset}/operations?pageSize=100000').status}."


def _counter(ended: dict[str, Any]) -> str:
    counter = ended["metadata"].get("counter")
    return "missing" if counter is None else f"`{counter}`".replace("'", '"')


def _end(ended: dict[str, Any]) -> str:
    if "error" in ended:
        return f"The operation ends with error code {ended['error']['code']}."
    return "The operation succeeds."


PROBES: list[Callable[[Endpoint], str]] = [
    partial_failure, duplicate, no_bucket_to_import_from, no_bucket_to_export_to, nothing_matches, question_mark, folder,
    plain_mime_type, lines_that_are_not_paths, operation_ids, type_of_response, cancel_of_the_finished, no_such_operation,
    no_such_store, largest_page,
]  # fmt: skip
