"""The emulator needs nothing but what it names: neither Airflow nor the provider, and no library that its dependencies lack."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest

EMULATOR = Path(__file__).parents[1]
PACKAGE = EMULATOR / "gcp_dicom_emulator"
PROJECT = tomllib.loads((EMULATOR / "pyproject.toml").read_text())["project"]
#: What only some functions import, which say so: the plugin of pytest, and key files.
OPTIONAL = {"pytest", "cryptography"}
#: What comes with a dependency, as a part of what that is for.
BROUGHT = {"multidict": "aiohttp", "yarl": "aiohttp"}
#: What takes long to load, so that it is loaded when a request needs it.
HEAVY = {"duckdb", "google", "imagecodecs", "numpy", "pydicom", "sqlglot"}
#: Of those, what has modules that import each other.
IN_CIRCLES = {"pydicom", "sqlglot"}
#: What works on a data set, which only the whole library makes.
LATER = "pydicom.pixels"
#: Seconds from its start until an emulator, whose modules are loaded, answers.
READY = 0.5
#: How much the command may need until it is ready, as a multiple of what it costs to load the library of its server.
SHARE = 2.5


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it that is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            yield node.module or ""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


FILES = sorted(PACKAGE.rglob("*.py"))
DEPENDENCIES = names(PROJECT["dependencies"])
#: Which distributions a module comes from.
SOURCES = {module: set(map(canonical, found)) for module, found in packages_distributions().items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_it_imports_nothing_of_airflow_and_nothing_that_it_does_not_depend_on(path: Path):
    """Case 7: what is missing is missing when it is installed, not when somebody seeds a store."""
    others = {name.partition(".")[0] for name in imported(path)} - sys.stdlib_module_names - {"gcp_dicom_emulator"} - OPTIONAL
    assert not {name for name in others if name.startswith("airflow")}
    assert not {name for name in others if not DEPENDENCIES & {BROUGHT.get(name, ""), *SOURCES.get(name, ())}}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_threads_that_load_a_library_wait_for_the_whole_of_it(path: Path):
    """Its top waits for the thread that loads it; what is below does not, and then has halves of modules that import each other."""
    for function in [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]:
        loaded = {name.name for node in ast.walk(function) if isinstance(node, ast.Import) for name in node.names}
        for module in [node.module or "" for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]:
            top = module.partition(".")[0]
            is_whole = top not in IN_CIRCLES or module == top or top in loaded or module.startswith(LATER)
            assert is_whole, f"{function.name} imports from {module}"
            loaded.add(module)


def test_it_depends_on_nothing_of_airflow():
    extras = (requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra)
    everything = DEPENDENCIES | names(list(extras))
    assert {"aiohttp", "pydicom", "pytest"} <= everything
    assert not {name for name in everything if "airflow" in name}


def test_it_is_tested_without_airflow():
    found = {canonical(distribution.name) for distribution in distributions()}
    assert {"pydicom", "gcp-dicom-emulator"} <= found
    assert not {name for name in found if "airflow" in name}


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after a statement."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ended.stdout.split()}


def test_importing_it_loads_no_library():
    loaded = loaded_by("import gcp_dicom_emulator")
    assert "gcp_dicom_emulator" in loaded
    assert not loaded & {*HEAVY, "aiohttp", "googleapiclient"}


def test_a_command_that_only_asks_it_loads_no_library():
    loaded = loaded_by("from gcp_dicom_emulator.cli import main\nmain(['env', '--port', '1'])")
    assert "gcp_dicom_emulator" in loaded
    assert not loaded & {*HEAVY, "aiohttp", "googleapiclient"}


def test_starting_it_loads_no_library_that_takes_long():
    loaded = loaded_by("import gcp_dicom_emulator.cli\nwith gcp_dicom_emulator.Emulator(): pass")
    assert "aiohttp" in loaded
    assert not loaded & HEAVY


def test_it_is_ready_in_half_a_second():
    """As an object, with its modules loaded, and with an empty directory: what each session of tests waits for."""
    from gcp_dicom_emulator import Emulator

    shortest, deadline = float("inf"), time.monotonic() + 60
    while shortest > READY and time.monotonic() < deadline:  # the machine may be busy
        started = time.perf_counter()
        with Emulator():
            shortest = min(shortest, time.perf_counter() - started)
    assert shortest <= READY


def test_the_command_is_ready_when_its_server_s_library_is_hardly_loaded():
    """In processor time, of which another process takes nothing away."""
    shares: list[float] = []
    while len(shares) < 8 and min(shares, default=SHARE) >= SHARE:  # the processor may change its speed
        starting = processor_time("-m", "gcp_dicom_emulator", "start", "--port", "0")
        shares.append(starting / processor_time("-c", "import aiohttp.web; print('ready')"))
    assert min(shares) < SHARE, shares


def processor_time(*arguments: str) -> float:
    """Return the seconds of a processor that Python takes until it says that it is ready, and to end then."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        process.terminate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
