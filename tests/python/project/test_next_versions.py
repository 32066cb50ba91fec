"""The project on the next versions of DuckDB and dbt-core.

Each is installed from its pins into a folder of its own, which goes before the pinned packages on
Python's path; all others stay as they are pinned. It proves that with each of them `make build` is
green, on a new warehouse and on one that the pinned versions built; that the marts have exactly the
same rows; that the loader's tests of DuckDB pass with DuckDB 2, and those of the macros with both.
The folders are kept in target/environments, or in NEXT_VERSIONS.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.clone import REPO
from support.commands import first_build
from support.one_run import own
from tools.servers import PostgresServer

pytestmark = pytest.mark.long

FOLDER = Path(os.environ.get("NEXT_VERSIONS") or REPO / "target" / "environments")
# Each mart with a hash of its rows; that of runs is another one after each run. By a process of its
# own: DuckDB's version is that of its path.
DIGESTS = """
import hashlib, sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as warehouse:
    warehouse.execute("set enable_progress_bar = false")
    for (mart,) in warehouse.execute(
        "select table_name from information_schema.tables"
        " where table_schema = 'marts' and table_name <> 'run_history' order by 1"
    ).fetchall():
        rows = sorted(map(repr, warehouse.execute(f"select * from marts.{mart}").fetchall()))
        print(mart, len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())
"""
VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


@dataclass(frozen=True)
class Versions:
    """Packages that go before the pinned ones; none for the pinned ones themselves."""

    folder: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """That of a process that uses them, with dbt's hub out of reach."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.folder or ""),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DBT_PACKAGE_HUB_URL": "http://127.0.0.1:9/",
        }

    def run(self, project: Path, *command: str, **variables: str) -> str:
        """What a command prints; it has to end well."""
        done = subprocess.run(
            command,
            cwd=project,
            env=self.environment | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Warning" not in done.stderr, done.stderr
        return done.stdout

    def build(self, project: Path, **variables: str) -> str:
        """`make build`, whose packages are installed already: all green."""
        said = self.run(project, sys.executable, "scripts/build.py", **variables)
        assert "Green after" in said
        passed = re.search(r"(\d+) of \1 tests passed", said)
        assert passed and int(passed[1]) > 100, said
        return said

    def digests(self, warehouse: Path) -> str:
        """The marts of a warehouse, with a hash of the rows of each."""
        return self.run(warehouse.parent, sys.executable, "-c", DIGESTS, str(warehouse))


PINNED = Versions(None)


def installed(name: str) -> Versions:
    """The packages of requirements/<name>.txt, installed unless they are."""
    pins, folder = REPO / "requirements" / f"{name}.txt", FOLDER / name
    known = folder / "installed.txt"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of the run need it too
        if not known.exists() or known.read_bytes() != pins.read_bytes():
            shutil.rmtree(folder, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--no-input", "--quiet", "--no-deps"]
            command += ["--disable-pip-version-check", "--require-hashes", "--target", str(folder)]
            subprocess.run([*command, "--requirement", str(pins)], check=True)
            shutil.copy(pins, known)
    return Versions(folder)


@pytest.fixture(scope="module", params=["duckdb", "dbt"])
def versions(request: pytest.FixtureRequest) -> Versions:
    package, number = {"duckdb": ("duckdb", "2.0."), "dbt": ("dbt-core", "1.12.")}[request.param]
    found = installed(f"next-{request.param}")
    assert found.run(REPO, sys.executable, "-c", VERSION, package).startswith(number)
    return found


@pytest.fixture(scope="module")
def built() -> Iterator[tuple[Path, str]]:
    """The project after a build with the pinned versions, and what that printed; on its day."""
    project, first = first_build()
    began = datetime.fromtimestamp((project / "profiles.yml").stat().st_mtime, UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AS_OF_DATE", str(began.date()))
        yield project, first.out


@pytest.fixture
def copy(built: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(built[0], tmp_path / "project"))


def figures(said: str) -> str:
    """Rows and revenue, as a build prints them at its end."""
    return said.partition("\n\n")[2].partition("\n\nWarehouse")[0]


def test_a_first_build_has_the_same_figures(
    versions: Versions, built: tuple[Path, str], copy: Path
) -> None:
    for made in ("warehouse.duckdb", "target", "logs"):
        shutil.rmtree(copy / made) if (copy / made).is_dir() else (copy / made).unlink()
    assert figures(versions.build(copy)) == figures(built[1]) != ""


def test_the_marts_are_the_same(versions: Versions, built: tuple[Path, str], copy: Path) -> None:
    """All made anew from the same raw tables and snapshots, and every value compared."""
    dbt = str(Path(sys.executable).with_name("dbt"))
    day = ("--vars", f"{{as_of_date: '{os.environ['AS_OF_DATE']}'}}")
    versions.run(copy, dbt, "run", "--full-refresh", *day)
    assert versions.digests(copy / "warehouse.duckdb") == PINNED.digests(
        built[0] / "warehouse.duckdb"
    )


def test_a_warehouse_of_today_goes_on(versions: Versions, copy: Path) -> None:
    said = versions.build(copy)
    assert "nothing has changed: no row of any mart was written" in said
    events = ("scripts/sample_source.py", "sqlite:///shop.sqlite", "--events", "20")
    versions.run(copy, sys.executable, *events)
    assert re.search(r"\d+ rows of the marts were changed, new or gone", versions.build(copy))


def test_postgres_has_the_same_figures(
    built: tuple[Path, str], copy: Path, postgres: PostgresServer
) -> None:
    """With the next dbt; DuckDB has no part in it."""
    database = own("next_dbt")
    postgres.create_database(database)
    there = {"TARGET": "postgres", **postgres.environment(database)}
    assert figures(installed("next-dbt").build(copy, **there)) == figures(built[1])


@pytest.mark.parametrize(
    ("name", "tests"),
    [
        ("duckdb", ["tests/python/loader", "tests/python/project/test_macros.py"]),
        ("dbt", ["tests/python/project/test_macros.py"]),
    ],
)
def test_tests_pass(name: str, tests: list[str]) -> None:
    """Those of the loader that name DuckDB, and those of the macros."""
    chosen = ["-k", "duckdb"] if name == "duckdb" else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long"]
    done = subprocess.run(
        [*command, *chosen, *tests],
        cwd=REPO,
        env=installed(f"next-{name}").environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert re.search(r"\d{2,} passed", done.stdout), done.stdout[-400:]
