"""The definitions of orchestration/dagster, in Dagster's own environment and in one process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.clone import REPO
from support.commands import environment, install, tiny_build
from tools.servers import free_port

ENVIRONMENT = Path(os.environ.get("DAGSTER_VENV") or REPO / ".venv-dagster").absolute()
RUN = REPO / "tests" / "python" / "support" / "dagster_run.py"
pytestmark = pytest.mark.long

LOAD = f"{sys.executable} -m loader --require models"
# Python's own SQLite, for a shop that changes between two steps.
PROGRAM = "import sqlite3; c = sqlite3.connect('shop.sqlite'); c.execute('{}'); c.commit()"
SHOP = f'{sys.executable} -c "{PROGRAM}"'
PAID = SHOP.format("update payments set amount = amount + 1 where rowid = 1")
FAULT = SHOP.format("update orders set status = char(63) where rowid = 1")


@pytest.fixture(scope="module")
def dagster() -> None:
    """The environment of `make dagster`, installed unless it is there."""
    install("dagster-environment", "DAGSTER_VENV", ENVIRONMENT)


@pytest.fixture
def project(dagster: None, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_build(), tmp_path / "project", symlinks=True)


def in_dagster(project: Path, *steps: str, **variables: str) -> list[Any]:
    """What each step found."""
    told = project / "told.json"
    done = subprocess.run(
        [ENVIRONMENT / "bin" / "python", RUN, project / "orchestration" / "dagster", told, *steps],
        cwd=project,
        env={
            **environment(),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "SHOP_PYTHON": sys.executable,
            "SHOP_RETRY_SECONDS": "0.1",
            "SOURCE": "sqlite:///shop.sqlite",
            "DUCKDB_PATH": str(project / "warehouse.duckdb"),
            **variables,
        },
        capture_output=True,
        text=True,
    )
    assert told.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    found: list[Any] = json.loads(told.read_text("utf-8"))
    return found


def test_green_then_what_others_load_then_red(project: Path) -> None:
    steps = ("nodes", "job", "watch", PAID, LOAD, "watch", "watch", FAULT, "job")
    nodes, green, own, _, loaded, others, nothing, _, red = in_dagster(project, *steps)

    manifest = json.loads((project / "target" / "manifest.json").read_text("utf-8"))
    built = ("model", "seed", "snapshot")
    models = {n["name"] for n in manifest["nodes"].values() if n["resource_type"] in built}
    tables = {s["name"] for s in manifest["sources"].values() if s["name"][0] != "_"}
    assert set(nodes["assets"]) == models | tables
    assert "order_statuses_are_known" in nodes["checks"]

    assert green["green"]
    assert set(green["materialized"]) == models | tables
    assert green["failed_checks"] == []
    assert green["checks"] == len(nodes["checks"])

    assert own == []  # the run's own load is known
    assert loaded == 0
    assert others == ["payments"]
    assert nothing == []

    assert not red["green"]
    assert red["failed_checks"] == ["order_statuses_are_known"]
    assert tables < set(red["materialized"])
    assert "fact_orders" not in red["materialized"]


def test_a_load_is_tried_again_and_without_it_nothing_is_built(project: Path) -> None:
    (red,) = in_dagster(project, "job", SOURCE="postgresql://reader@127.0.0.1:9/shop")
    assert not red["green"]
    assert red["tries"] == 4
    assert red["materialized"] == []
    (wrong,) = in_dagster(project, "job", SOURCE="shop.example")
    assert (wrong["green"], wrong["tries"]) == (False, 1)


def test_make_dagster_serves_on_this_machine_only(project: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = project / "make_dagster.log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            [sys.executable, "scripts/dagster_server.py", "--port", str(port)],
            cwd=project,
            env={**environment(), "DAGSTER_VENV": str(ENVIRONMENT), "SHOP_SCHEDULE": "none"},
            stdout=lines,
            stderr=subprocess.STDOUT,
        )
    try:
        query = "{repositoriesOrError{... on RepositoryConnection{nodes{schedules{name}}}}}"
        body = json.dumps({"query": query}).encode()
        headers = {"Content-Type": "application/json"}
        deadline = time.monotonic() + 120
        answer = ""
        while "shop_schedule" not in answer and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text("utf-8")
            request = urllib.request.Request(f"{url}/graphql", body, headers)
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=60) as got:
                answer = got.read().decode()
            time.sleep(0.5)
        assert "shop_schedule" in answer
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 130
    assert not subprocess.run(["pgrep", "-f", str(project)], capture_output=True).stdout
