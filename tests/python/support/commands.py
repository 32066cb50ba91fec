"""The project's commands, run from the outside as a newcomer runs them."""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from support.clone import REPO, copy_project
from support.one_run import once

ENVIRONMENT = Path(sys.executable).parents[1]
DEAD_PORT = 9  # "discard": nothing listens there


@dataclass(frozen=True)
class Run:
    """What one command did: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def steps(self) -> dict[str, str]:
        """The lines of the build's steps: name -> what came of it."""
        found = re.findall(r"^  ([a-z ]+?) +[0-9.]+ s ?(.*)$", self.out, re.MULTILINE)
        return {name: said.strip() for name, said in found}

    @property
    def figures(self) -> str:
        """The summary's table of rows and revenue."""
        return self.out.partition("\n\n")[2].partition("\n\nWarehouse")[0]

    def rows(self, mart: str) -> int:
        found = re.search(rf"^  {mart} +([0-9,]+)\b", self.figures, re.MULTILINE)
        assert found, f"{mart} is not in:\n{self.figures}"
        return int(found[1].replace(",", ""))


def environment() -> dict[str, str]:
    """That of a shell in which the virtual environment is activated, with the hub out of reach."""
    return {
        **os.environ,
        "VENV": str(ENVIRONMENT),
        "PATH": f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "DBT_PACKAGE_HUB_URL": f"http://127.0.0.1:{DEAD_PORT}/",
    }


def run(project: Path, *command: str, **variables: str) -> Run:
    done = subprocess.run(
        command, cwd=project, env=environment() | variables, capture_output=True, text=True
    )
    return Run(done.returncode, done.stdout, done.stderr)


# Half of a short command's time is the import of packages: they are imported once, in a process
# that each command is forked from. The project's own modules are imported by the command.
_imported = multiprocessing.get_context("forkserver")
_imported.set_forkserver_preload(
    [
        "dbt.cli.main",
        "dbt.adapters.duckdb",
        "dbt.adapters.postgres",
        "pyarrow",
        "psycopg",
        "pymysql",
    ]
)


class Started:
    """One of the project's scripts in a fork, with all its processes in a group of their own."""

    def __init__(self, project: Path, name: str, *arguments: str, **variables: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name, name) for name in ("out", "err")]
        for path in self._said:
            path.touch()  # it may be killed before it says anything
        variables = environment() | variables
        self._process = _imported.Process(
            target=_script, args=(project, name, arguments, variables, self._said)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> Run:
        """Kill it, unless it has ended; what it said."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.ended()

    def ended(self) -> Run:
        """Wait for its end; what it said."""
        try:
            self._process.join(timeout=900)
        finally:
            if self.is_running():
                self._process.kill()
        status = self._process.exitcode
        assert status is not None, "it did not end"
        with self._folder:
            return Run(status, *(path.read_text("utf-8") for path in self._said))


def script(project: Path, name: str, *arguments: str, **variables: str) -> Run:
    """What `run` does for one of the project's scripts, in a fork and without `make`."""
    return Started(project, name, *arguments, **variables).ended()


def _script(
    project: Path,
    name: str,
    arguments: tuple[str, ...],
    variables: Mapping[str, str],
    said: list[Path],
) -> None:
    os.setpgid(0, 0)
    for number, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(project)
    os.environ.clear()
    os.environ.update(variables)
    file = f"scripts/{name}.py"
    sys.argv = [file, *arguments]
    sys.path.insert(0, str(project / "scripts"))  # a script puts its project there
    try:
        runpy.run_path(file, run_name="__main__")
    finally:
        # What the end of an interpreter does, and the end of a fork does not.
        atexit._run_exitfuncs()
        if connections := sys.modules.get("dbt.adapters.duckdb.connections"):
            connections.DuckDBConnectionManager.close_all_connections()


GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")


def first_build() -> tuple[Path, Run]:
    """A project of one commit after `make build`, and what that printed. Only to be copied."""

    def make(folder: Path) -> None:
        project = copy_project(folder / "a project")
        for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "All of it")):
            assert run(project, *GIT, *command).status == 0
        done = run(project, "make", "build")
        assert done.status == 0, done.out + done.err
        (folder / "run.json").write_text(json.dumps(asdict(done)), "utf-8")

    folder = once("make_build", make)
    return folder / "a project", Run(**json.loads((folder / "run.json").read_text("utf-8")))


def red_build() -> tuple[Path, Run]:
    """The same project after a build that failed for several reasons. Only to be copied.

    Orders have a status that nobody knows, one that was shipped is cancelled, and a model does
    not run.
    """

    def make(folder: Path) -> None:
        made, _ = first_build()
        project = Path(shutil.copytree(made, folder / "a project", symlinks=True))
        with sqlite3.connect(project / "shop.sqlite") as shop:
            shop.execute("update orders set status = 'Lost' where orderNumber % 100 = 0")
            shop.execute(
                "update orders set status = 'Cancelled' where orderNumber ="
                " (select max(orderNumber) from orders where status = 'Shipped')"
            )
        model = project / "models" / "marts" / "core" / "dim_products_current.sql"
        model.write_text(model.read_text("utf-8") + "\nwhere no_such_column = 1\n", "utf-8")
        done = script(project, "build", TESTS="all")
        assert done.status != 0 and "Traceback" not in done.out + done.err
        (folder / "run.json").write_text(json.dumps(asdict(done)), "utf-8")

    folder = once("red_build", make)
    return folder / "a project", Run(**json.loads((folder / "run.json").read_text("utf-8")))


def assert_one_sentence(result: Run, *words: str) -> None:
    """The command failed with one line for a person, which says all these words."""
    assert result.status != 0
    assert "Traceback" not in result.out + result.err
    said = [line for line in result.err.splitlines() if not line.startswith("make: ***")]
    assert len(said) == 1, result.err
    for word in words:
        assert word in said[0]


def fault_in_an_old_row(project: Path) -> None:
    """A line that is there twice, written past dbt, so that no load has touched it.

    A build that calculates it again finds no row that differs.
    """
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        warehouse.execute(
            "insert into marts.fact_orders select * from marts.fact_orders"
            " where order_line_key = (select min(order_line_key) from marts.fact_orders)"
        )


def small_project(place: Path) -> Path:
    """A project of the star and one mart of it, with few tests: its builds are short."""
    return make_small(copy_project(place))


def make_small(project: Path) -> Path:
    """Take away from a project what the small one does not have."""
    marts = project / "models" / "marts"
    for folder in ("data_science", "finance", "marketing"):
        shutil.rmtree(marts / folder)
    shutil.rmtree(project / "models" / "intermediate" / "data_science")
    shutil.rmtree(project / "analyses")
    for path in marts.glob("sales/*"):
        if path.stem != "product_performance":
            path.unlink()
    for path in (project / "models").rglob("_*__unit_tests.yml"):
        if path.stem != "_geography__unit_tests":
            path.unlink()
    for name in ("marts/_metrics.yml", "marts/_semantic_models.yml", "_exposures.yml"):
        (project / "models" / name).unlink()
    return project


def small_build() -> tuple[Path, Run]:
    """The small project after a build, and what that printed. Only to be copied."""

    def make(folder: Path) -> None:
        done = script(small_project(folder / "project"), "build")
        assert done.status == 0, done.out + done.err
        (folder / "run.json").write_text(json.dumps(asdict(done)), "utf-8")

    folder = once("small_build", make)
    return folder / "project", Run(**json.loads((folder / "run.json").read_text("utf-8")))


# Red where an order has the comment, when everything is built.
LATE = """
select orders.order_number
from {{ ref('fact_orders') }} as orders
inner join {{ ref('product_performance') }} as products using (product_code)
where orders.order_comments = 'It fails.'
"""


# Who kills builds or reads during them needs one test that fails early, and one that fails late.
TWO_TESTS = """\
    +enabled: false
    it_fails: {+enabled: true}
    staging: {classicmodels: {order_statuses_are_known: {+enabled: true}}}
"""


def tiny_project(place: Path) -> Path:
    """The small project with one test of staging, one of the last mart, and fewer facts."""
    project = small_project(place)
    shutil.rmtree(project / "tests" / "singular")
    (project / "tests" / "it_fails.sql").write_text(LATE, "utf-8")
    settings = project / "dbt_project.yml"
    settings.write_text(settings.read_text("utf-8") + TWO_TESTS, "utf-8")
    for fact in ("fact_payments", "fact_order_life"):
        for path in (project / "models" / "marts" / "core").glob(f"{fact}.*"):
            path.unlink()
    for path in (project / "models").rglob("_*__unit_tests.yml"):
        path.unlink()
    return project


def install(environment: str, variable: str, folder: Path) -> None:
    """Let make install the environment of a service in a folder, unless it is there."""
    done = subprocess.run(
        ["make", environment],
        cwd=REPO,
        env={**os.environ, variable: str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def tiny_build() -> Path:
    """The tiny project after a green build. Only to be copied."""

    def make(folder: Path) -> None:
        done = script(tiny_project(folder / "project"), "build")
        assert done.status == 0, done.out + done.err

    return once("tiny_build", make) / "project"
