"""What a task is about to ask of a service. No Airflow, no Google library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Repeat(Enum):
    """What becomes of a request that the service gets twice."""

    #: The second one does what the first one did: an import, an export to Cloud Storage, ``WRITE_TRUNCATE``.
    SAFE = "safe"
    #: The second one fails, and changes nothing: ``WRITE_EMPTY``, a resource that is created.
    FAILS = "fails"
    #: The second one adds to what the first one wrote: ``WRITE_APPEND``, de-identification into a store that exists.
    DOUBLES = "doubles"

    @property
    def may_be_resent(self) -> bool:
        """Whether a request whose answer is lost may be sent again at once."""
        return self is Repeat.SAFE


@dataclass(frozen=True)
class Plan:
    """One request that starts a long-running operation or a job, and what to say about it.

    :param method: the REST method, such as ``dicomStores.export``.
    :param name: the resource that it is called on, such as the DICOM store's name.
    :param body: the request's body.
    :param subject: in words, with its URIs: what is asked for.
    :param repeat: what becomes of the request when the service gets it twice.
    :param result: what the task returns beside the operation: where the instances or rows went.
    :param links: URLs by the key of the link that shows them.
    :param inputs: what is read: ``gs://bucket/object``, ``bq://project.dataset.table`` or ``dicomstore://project/location/dataset/store``.
    :param outputs: what is written, likewise.
    :param parameter: what the method calls the resource: its parameter's name.
    :param versions: the generation of each input that was looked at: the same request about another version of it is another request.
    """

    method: str
    name: str
    body: Mapping[str, Any]
    subject: str
    repeat: Repeat = Repeat.SAFE
    result: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    parameter: str = "name"
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """The method's parameters, for the client."""
        return {self.parameter: self.name, "body": dict(self.body)}

    @property
    def fingerprint(self) -> str:
        """What tells this request from others. The same in all releases: a task that was started by one is resumed by the next."""
        request = [self.name, self.body, *([self.versions] if self.versions else [])]
        return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
