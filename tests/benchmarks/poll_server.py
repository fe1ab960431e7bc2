"""A server that answers polls over TLS and writes down when they came: Healthcare operations, BigQuery jobs, and tokens for both.

A process of its own. It reads one command a line and answers each with a line of JSON:

- ``polls``: the polls since it was last asked, as ``[when, number of the operation]``, and how many connections were opened;
- ``finish COUNT FROM SECONDS``: the first operations end one after the other in this time; answers when each will;
- ``noticed``: when each ended operation was first asked for after its end.

Times are seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import sys
import time
from pathlib import Path

#: Seconds between a request and its answer.
LATENCY = 0.05

_NUMBER = re.compile(rb"/(?:operations|jobs)/(?:job-)?(\d+)")


class Polls:
    """What was asked for, and what ends when."""

    def __init__(self) -> None:
        self.polls: list[tuple[float, int]] = []
        self.connections = 0
        self.ends: dict[int, float] = {}
        self.noticed: dict[int, float] = {}

    def answer(self, request: bytes) -> dict[str, object]:
        """Return the answer to a request, of which the line and the headers are given."""
        now = time.time()
        if request.startswith(b"POST /token"):
            return {"access_token": "t" * 200, "expires_in": 3600, "token_type": "Bearer"}
        line = request[: request.index(b"\r\n")]
        found = _NUMBER.search(line)
        assert found, line
        number = int(found[1])
        self.polls.append((now, number))
        done = now >= self.ends.get(number, float("inf"))
        if done:
            self.noticed.setdefault(number, now)
        if b"/jobs/" in line:
            return _job(number, done)
        return _operation(number, done)

    def command(self, line: str) -> object:
        """Do what a line of the standard input says."""
        name, *arguments = line.split()
        if name == "polls":
            polls, self.polls = self.polls, []
            return {"polls": polls, "connections": self.connections}
        if name == "finish":
            count, start, seconds = int(arguments[0]), float(arguments[1]), float(arguments[2])
            self.ends = {number: start + random.uniform(0, seconds) for number in range(count)}
            return self.ends
        return self.noticed


def _operation(number: int, done: bool) -> dict[str, object]:
    # The counters move with every poll, as those of a real operation do.
    metadata = {
        "@type": "type.googleapis.com/google.cloud.healthcare.v1.OperationMetadata",
        "apiMethodName": "google.cloud.healthcare.v1.dicom.DicomService.ImportDicomData",
        "createTime": "2026-01-01T00:00:00.000000Z",
        "logsUrl": "https://console.cloud.google.com/logs/query",
        "counter": {"pending": "1000", "success": str(int(time.time() * 10) % 1_000_000)},
    }
    name = f"projects/demo/locations/us-central1/datasets/radiology/operations/{number}"
    return {"name": name, "metadata": metadata, **({"done": True, "response": {}} if done else {})}


def _job(number: int, done: bool) -> dict[str, object]:
    return {
        "kind": "bigquery#job",
        "id": f"demo:US.job-{number}",
        "jobReference": {"projectId": "demo", "jobId": f"job-{number}", "location": "US"},
        "configuration": {"jobType": "QUERY", "query": {"query": "SELECT 1", "useLegacySql": False}},
        "statistics": {"creationTime": "1700000000000", "startTime": "1700000000000"},
        "status": {"state": "DONE" if done else "RUNNING"},
    }


class Connection(asyncio.Protocol):
    """HTTP/1.1, one request after the other: as little as takes time off the measured process's machine."""

    transport: asyncio.Transport

    def __init__(self, polls: Polls) -> None:
        self._polls = polls
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._polls.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        answer = json.dumps(self._polls.answer(head + found)).encode()
        response = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)
        asyncio.get_running_loop().call_later(LATENCY, self.transport.write, response)


async def serve(certificate: Path) -> None:
    """Serve on a free port, which the first line on the standard output says, until the standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    polls = Polls()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(polls), "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(polls.command(line)), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
