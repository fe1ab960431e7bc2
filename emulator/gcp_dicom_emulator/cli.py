"""The command ``gcp-dicom-emulator``."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import logging
import re
import shlex
import signal
import sqlite3
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from gcp_dicom_emulator import __version__
from gcp_dicom_emulator.client import Client, EmulatorError
from gcp_dicom_emulator.environment import DEFAULT_PROJECT, base_url, environment
from gcp_dicom_emulator.probes.endpoint import GOOGLE, Endpoint
from gcp_dicom_emulator.probes.run import findings
from gcp_dicom_emulator.seeding import seed_buckets, seed_store

DEFAULT_PORT = 9099
#: From which level on a library's messages are logged.
_LEVELS = {"pydicom": logging.CRITICAL, "sqlglot": logging.ERROR}
#: The exit status of a command that was not called as it should be.
_USAGE = 2
#: Seconds that an emulator gets to say that it is there.
_PATIENCE = 2.0
DEFAULT_STORE = f"projects/{DEFAULT_PROJECT}/locations/us-central1/datasets/radiology/dicomStores/images"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return _USAGE
    if options.command == "start":
        return _start(options)
    if options.command == "probe":
        return _probe(options)
    url = base_url(options.host, options.port)
    if options.command == "env":
        _print_environment(url, sys.stdout)
        _warn_of_silence(url)
        return 0
    try:
        with Client(url) as client:
            sys.stdout.write(_CLIENT_COMMANDS[options.command](client, options))
    except (EmulatorError, OSError, ValueError) as error:
        sys.stderr.write(f"{_reason(error)}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gcp-dicom-emulator",
        description="A local emulator of the Cloud Healthcare API (DICOM), Cloud Storage, BigQuery and Pub/Sub.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, description: str, port: str = "its port", lowest_port: int = 1) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=description, description=f"{description[0].upper()}{description[1:]}.")
        added.add_argument("--host", type=_host, default="127.0.0.1", help="its address (default: %(default)s)")
        of_port = _whole_number(lowest_port, 65535)
        added.add_argument("--port", type=of_port, default=DEFAULT_PORT, help=f"{port} (default: %(default)s)")
        return added

    start = command("start", "serve until Ctrl-C", "its port; 0 for a free one", lowest_port=0)
    start.add_argument("--data-dir", type=_path, help="keep everything in this directory (default: a temporary one)")
    pace = start.add_mutually_exclusive_group()
    pace.add_argument("--operation-seconds", type=_seconds, default=0.0, metavar="S", help="let operations take S seconds")
    pace.add_argument(
        "--operation-polls", type=_whole_number(0), default=0, metavar="N", help="end operations when they are asked for N times"
    )
    start.add_argument(
        "--operation-retention", type=_seconds, metavar="S", help="forget operations S seconds after their end (default: never)"
    )
    start.add_argument(
        "--allow-origin",
        type=_origin,
        action="append",
        default=[],
        metavar="URL",
        help="let pages of this website talk to it from a browser, such as http://localhost:3000; may be given several times",
    )
    command("env", 'print the variables that point clients at it, for the shell: eval "$(… env)", or in fish: … env | source')
    command("status", "say what the running emulator holds")
    seed = command("seed", "fill the running emulator from a folder")
    seed.add_argument("directory", type=_path, help="a folder of DICOM files, which are imported into the store; or of buckets")
    kind = seed.add_mutually_exclusive_group()
    kind.add_argument("--store", default=DEFAULT_STORE, help="the DICOM store, made if it is missing (default: %(default)s)")
    kind.add_argument("--buckets", action="store_true", help="each folder in it is a bucket, and its files are objects")
    command("reset", "remove everything from the running emulator")
    probe = commands.add_parser(
        "probe",
        help="ask an endpoint what the documentation leaves open",
        description="Ask an endpoint what the documentation leaves open, by small programs that remove what they make.",
    )
    probe.add_argument(
        "--endpoint",
        type=_endpoint,
        default=f"http://127.0.0.1:{DEFAULT_PORT}",
        help=f"its URL; {GOOGLE} for the service (default: %(default)s)",
    )
    probe.add_argument("--project", default=DEFAULT_PROJECT, help="a project there (default: %(default)s)")
    snapshot = command("snapshot", "write everything in the running emulator to a file")
    restore = command("restore", "put a snapshot in place of everything in the running emulator")
    for parser_of_file in (snapshot, restore):
        parser_of_file.add_argument("file", type=_path, help="a tar file")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def _path(text: str) -> Path:
    if not text:  # as of a shell's variable that is not set: it would be the current directory
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def _host(text: str) -> str:
    is_address = ":" not in text or _is_ipv6(text)
    if not is_address or not re.fullmatch(r"[^\s/]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host: give its name or its address, without http:// and the port")
    return text


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _endpoint(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an endpoint: give its URL, such as {GOOGLE}")
    return text


def _origin(text: str) -> str:
    from gcp_dicom_emulator.rest.origins import parse_origin

    try:
        return parse_origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _whole_number(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    """Return what parses an argument that is a whole number within limits."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) < lowest or (highest is not None and int(text) > highest):
            limits = f"from {lowest} on" if highest is None else f"from {lowest} to {highest}"
            raise argparse.ArgumentTypeError(f"{text} is not a whole number {limits}")
        return int(text)

    return parse


def _reason(error: Exception) -> str:
    """Return what is wrong, without the number that the operating system gives it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _status(client: Client, _: argparse.Namespace) -> str:
    return "".join(f"{name}: {value}\n" for name, value in client.call("GET", "/_emulator/status").items())


def _seed(client: Client, options: argparse.Namespace) -> str:
    if not options.directory.exists():
        raise OSError(f"{options.directory} does not exist.")
    if options.buckets:
        uploaded = seed_buckets(client, options.directory, DEFAULT_PROJECT)
        if not uploaded:
            raise ValueError(f"Nothing was stored: {options.directory} holds no folders.")
        return "".join(f"gs://{bucket}: {_counted(count, 'object')}\n" for bucket, count in uploaded.items())
    seeded = seed_store(client, options.store, options.directory)
    failed = f"{_counted(seeded.failed, 'file')} that {'is' if seeded.failed == 1 else 'are'} not DICOM" if seeded.failed else ""
    if not seeded.instances:
        raise ValueError(f"Nothing was stored: {options.directory} holds {failed or 'no files'}.")
    counts = [_counted(seeded.new, "new instance")]
    counts += [f"{seeded.present} already there"] if seeded.present else []
    counts += [failed] if failed else []
    return f"{options.store}: {', '.join(counts)}\n"


def _counted(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"


def _reset(client: Client, _: argparse.Namespace) -> str:
    client.call("POST", "/_emulator/reset")
    return ""


def _snapshot(client: Client, options: argparse.Namespace) -> str:
    client.download("/_emulator/snapshot", options.file)
    return f"{options.file}: {options.file.stat().st_size} bytes\n"


def _restore(client: Client, options: argparse.Namespace) -> str:
    client.call("POST", "/_emulator/restore", options.file)
    return _status(client, options)


def _probe(options: argparse.Namespace) -> int:
    """Ask an endpoint; first ask whether to write to it, unless it is an emulator."""
    at = Endpoint(options.endpoint, options.project)
    try:
        if not at.is_emulator():
            sys.stdout.write(
                f"This makes a dataset, a bucket and a few small objects in project {options.project} at {options.endpoint}, "
                "with the default credentials of this machine, and removes them. Go on? [y/N] "
            )
            sys.stdout.flush()
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                sys.stdout.write("Nothing was asked.\n")
                return 1
            at.sign_in()
        with at:
            for found in findings(at):
                sys.stdout.write(f"{found.api}: {found.question}\n    {found.answer}\n")
    except OSError as error:
        sys.stderr.write(f"{options.endpoint} does not answer: {_reason(error)}.\n")
        return 1
    return 0


_CLIENT_COMMANDS = {"status": _status, "seed": _seed, "reset": _reset, "snapshot": _snapshot, "restore": _restore}


def _start(options: argparse.Namespace) -> int:
    # The other commands need none of what these load.
    from gcp_dicom_emulator.emulator import Emulator
    from gcp_dicom_emulator.rest.origins import is_loopback

    host, port, data_dir = options.host, options.port, options.data_dir
    _log()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        emulator = Emulator(
            data_dir,
            host=host,
            port=port,
            operation_seconds=options.operation_seconds,
            operation_polls=options.operation_polls,
            operation_retention=options.operation_retention,
            allow_origins=options.allow_origin,
        )
    except (OSError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        sys.stderr.write(f"Cannot use {data_dir or 'a temporary directory'}: {reason}. Choose another --data-dir.\n")
        return 1
    try:
        emulator.start()
    except OSError as error:
        other = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        sys.stderr.write(f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another {other}.\n")
        return 1
    if not is_loopback(host):
        sys.stderr.write(
            f"WARNING: listening on {host}. There is no authentication: everyone who reaches it reads and writes it.\n"
        )
    sys.stdout.write(f"# The emulator is ready on {emulator.url}\n")
    _print_environment(emulator.url, sys.stdout)
    sys.stdout.flush()
    stopped.wait()
    # Whoever cannot wait for what is under way may signal again: the state outlives any end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    emulator.stop()
    return 0


def _warn_of_silence(url: str) -> None:
    """Say so where nothing answers, or something else; the emulator may be about to start, so it is not an error."""
    try:
        with Client(url, _PATIENCE) as client:
            client.call("GET", "/healthz")
    except EmulatorError as error:
        sys.stderr.write(f"WARNING: {error}\n")


def _log() -> None:
    """Write a log to standard error, in which each line is a request or something that is wrong with the emulator.

    What libraries find odd in a client's data or query, the answer says, where it matters.
    """
    handler = logging.StreamHandler(sys.stderr)
    # pydicom sets the level of its logger itself, when it is imported.
    handler.addFilter(lambda record: record.levelno >= _LEVELS.get(record.name.partition(".")[0], 0))
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(asctime)s %(message)s")
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")


def _print_environment(url: str, out: TextIO) -> None:
    for name, value in environment(url).items():
        out.write(f"export {name}={shlex.quote(value)}\n")
