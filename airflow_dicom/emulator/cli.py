"""The command ``airflow-dicom-emulator``."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import shlex
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from airflow_dicom.emulator.emulator import Emulator, base_url, environment

DEFAULT_PORT = 9099


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "env":
        _print_environment(base_url(options.host, options.port), sys.stdout)
        return 0
    return _start(options.host, options.port, options.data_dir)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="airflow-dicom-emulator",
        description="A local emulator of the Cloud Healthcare API (DICOM), Cloud Storage and BigQuery.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="serve until Ctrl-C")
    start.add_argument("--data-dir", type=Path, help="keep everything in this directory (default: a temporary one)")
    env = commands.add_parser("env", help='print the variables that point clients at it, for the shell: eval "$(… env)"')
    for command in (start, env):
        command.add_argument("--host", default="127.0.0.1", help="the address (default: %(default)s)")
        command.add_argument("--port", type=_port, default=DEFAULT_PORT, help="the port; 0 for a free one (default: %(default)s)")
    return parser


def _port(text: str) -> int:
    if not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return int(text)


def _start(host: str, port: int, data_dir: Path | None) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        emulator = Emulator(data_dir, host=host, port=port)
    except (OSError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        sys.stderr.write(f"Cannot use {data_dir or 'a temporary directory'}: {reason}. Choose another --data-dir.\n")
        return 1
    try:
        emulator.start()
    except OSError as error:
        sys.stderr.write(f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another --port.\n")
        return 1
    if not _is_loopback(host):
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


def _print_environment(url: str, out: TextIO) -> None:
    for name, value in environment(url).items():
        out.write(f"export {name}={shlex.quote(value)}\n")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
