"""The DAG of orchestration/airflow: in Airflow's own environment, and on a scheduler that runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from support.clone import REPO
from support.commands import environment, install, tiny_build
from tools.servers import free_port

ENVIRONMENT = Path(os.environ.get("AIRFLOW_VENV") or REPO / ".venv-airflow").absolute()
RUN = REPO / "tests" / "python" / "support" / "airflow_run.py"
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def airflow() -> Path:
    """The environment of `make airflow`, installed unless it is there; its folder bin."""
    install("airflow-environment", "AIRFLOW_VENV", ENVIRONMENT)
    return ENVIRONMENT / "bin"


@pytest.fixture(scope="module")
def home(airflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Airflow's own, whose database is made once."""
    home = tmp_path_factory.mktemp("airflow")
    done = subprocess.run(
        [airflow / "airflow", "db", "migrate"],
        env={**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return home


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The tiny project after a green build."""
    return shutil.copytree(tiny_build(), tmp_path / "project", symlinks=True)


def in_airflow(home: Path, project: Path, *arguments: str, **variables: str) -> tuple[Any, str]:
    """What airflow_run.py found, and all that it printed."""
    told = home / f"{project.parent.name}.json"
    dags = project / "orchestration" / "airflow" / "dags"
    done = subprocess.run(
        [ENVIRONMENT / "bin" / "python", RUN, dags, told, *arguments],
        cwd=project,
        env={
            **environment(),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "DO_NOT_TRACK": "1",
            "SHOP_PYTHON": sys.executable,
            "SHOP_RETRY_SECONDS": "0.1",
            "SOURCE": "sqlite:///shop.sqlite",
            **variables,
        },
        capture_output=True,
        text=True,
    )
    assert told.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(told.read_text("utf-8")), done.stdout + done.stderr


def alerts(project: Path) -> dict[str, str]:
    """A command for SHOP_ALERT that writes down what it is told."""
    code = f"import sys; open({str(project / 'told')!r}, 'a').write(sys.stdin.read() + chr(10))"
    (project / "alert.py").write_text(code, "utf-8")
    return {"SHOP_ALERT": f"{sys.executable} alert.py"}


def told(project: Path) -> list[str]:
    if not (project / "told").exists():
        return []
    return [json.loads(line)["event"] for line in (project / "told").read_text().splitlines()]


def change(project: Path, sql: str) -> None:
    """Let the shop do something."""
    shop = sqlite3.connect(project / "shop.sqlite")
    with shop:
        assert shop.execute(sql).rowcount > 0
    shop.close()


def lines(project: Path) -> Any:
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as warehouse:
        return warehouse.execute("select count(*) from marts.fact_orders").fetchall()[0][0]


# A test of staging is red of it: the facts hang on that.
FAULT = "update orders set status = 'Lost' where rowid = (select min(rowid) from orders)"
FEWER = "delete from orderdetails where rowid = (select max(rowid) from orderdetails)"


def test_one_task_is_green_and_tells_so(home: Path, project: Path) -> None:
    before = lines(project)
    change(project, FEWER)
    found, said = in_airflow(home, project, **alerts(project))
    assert found == {
        "state": "success",
        "tasks": {"load": ["success", 1], "build": ["success", 1]},
    }, said[-3000:]
    assert lines(project) == before - 1
    assert told(project) == ["green"]


def test_a_red_test_is_not_tried_again_and_publishes_nothing(home: Path, project: Path) -> None:
    before = lines(project)
    change(project, FEWER)
    change(project, FAULT)
    found, said = in_airflow(home, project, **alerts(project))
    assert found["state"] == "failed"
    assert found["tasks"] == {"load": ["success", 1], "build": ["failed", 1]}, said[-3000:]
    assert re.search(r"\d+ skipped", said), "what is below the red test was run"
    assert lines(project) == before
    assert told(project) == ["failed"]


def test_a_load_is_tried_again_and_without_it_nothing_is_built(home: Path, project: Path) -> None:
    # As after an outage of the network; a server does not answer.
    gone = "postgresql://reader@127.0.0.1:9/shop"
    found, said = in_airflow(home, project, SOURCE=gone)
    assert found["state"] == "failed"
    assert found["tasks"]["load"] == ["failed", 4], said[-3000:]
    assert found["tasks"]["build"][0] == "upstream_failed"


def test_exit_codes(home: Path, project: Path) -> None:
    ends = {
        "0 done": "done",
        "3 done, with issues": "done",
        "2 wrong command": "failed",
        "1 FAILED after 12.0 s.": "failed",
        "1 make build: the warehouse cannot be reached": "tried again",
        "75 another run": "tried again",
        "-9 killed": "tried again",
    }
    found, _ = in_airflow(home, project, *ends)
    assert found["ends"] == ends


class Served:
    """A `make airflow` that runs, and its API."""

    def __init__(self, project: Path, **variables: str) -> None:
        self.port = free_port()
        self.log = project / "make_airflow.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "scripts/airflow_server.py", "--port", str(self.port)],
                cwd=project,
                env={**environment(), "AIRFLOW_VENV": str(ENVIRONMENT), **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.token = ""

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8")

    def ask(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait(self, path: str, is_good: Any, seconds: float = 300) -> Any:
        """The first good answer."""
        deadline = time.monotonic() + seconds
        answer = None
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.said
            try:
                answer = self.ask(path)
                if is_good(answer):
                    return answer
            except OSError:  # not yet there
                pass
            time.sleep(1)
        raise AssertionError(f"{path}: {answer}\n{self.said}")

    def log_in(self) -> None:
        password = re.search(r"^User admin, password (\S+)", self.said, re.MULTILINE)
        assert password
        body = {"username": "admin", "password": password[1]}
        self.token = self.ask("/auth/token", body)["access_token"]

    def run(self) -> tuple[str, dict[str, str]]:
        """Trigger the DAG; how the run ended, and each task."""
        run = self.ask("/api/v2/dags/shop/dagRuns", {"logical_date": None})["dag_run_id"]
        path = f"/api/v2/dags/shop/dagRuns/{run}"
        state = self.wait(path, lambda answer: answer["state"] in ("success", "failed"))["state"]
        tasks = self.ask(f"{path}/taskInstances?limit=1000")["task_instances"]
        return state, {task["task_id"]: task["state"] for task in tasks}

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=60)


@pytest.fixture
def models(airflow: Path, project: Path) -> Iterator[Served]:
    """A scheduler with a task for each model of the tiny project."""
    served = Served(project, SHOP_DAG="models", SHOP_SCHEDULE="none", **alerts(project))
    try:
        served.wait("/api/v2/monitor/health", bool)
        served.log_in()
        served.wait("/api/v2/dags", lambda answer: answer["total_entries"] == 1)
        yield served
    finally:
        assert served.end() == 130
        assert not subprocess.run(["pgrep", "-f", f"{project}"], capture_output=True).stdout


def nodes(project: Path) -> set[str]:
    """The tasks that the project's nodes should have."""
    manifest = json.loads((project / "target" / "manifest.json").read_text("utf-8"))
    tested = {
        parent
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
        for parent in node["depends_on"]["nodes"]
    }
    found = set()
    for name, node in manifest["nodes"].items():
        kind = {"model": "run", "seed": "seed", "snapshot": "snapshot"}.get(node["resource_type"])
        if kind:
            dot = "." if name in tested else "_"
            found.add(f"dbt.{node['name']}{dot}{kind}")
            if name in tested:
                found.add(f"dbt.{node['name']}.test")
    return found


def test_a_task_for_each_node_on_a_scheduler(models: Served) -> None:
    """One after the other: it starts, is private, draws the nodes, is green, and is red."""
    project = models.log.parent
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{models.port}/api/v2/dags", timeout=30)
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True).stdout
    if listening:
        assert f"127.0.0.1:{models.port}" in listening
        assert f"0.0.0.0:{models.port}" not in listening
    assert stat.S_IMODE((project / ".airflow").stat().st_mode) == 0o700

    assert models.ask("/api/v2/importErrors")["import_errors"] == []
    tasks = models.ask("/api/v2/dags/shop/tasks")["tasks"]
    own = {"load", "prepare", "marts", "dbt.dbt_producer_watcher", "dbt.dbt_producer_watcher_done"}
    assert {task["task_id"] for task in tasks} - own == nodes(project)
    assert [task["task_id"] for task in tasks if not task["doc_md"]] == []

    before = lines(project)
    change(project, FEWER)
    state, ended = models.run()
    assert (state, set(ended.values())) == ("success", {"success"}), models.said
    assert lines(project) == before - 1

    change(project, FAULT)
    state, ended = models.run()
    assert state == "failed"
    assert ended["load"] == "success"
    assert ended["dbt.fact_orders.run"] in ("upstream_failed", "failed", "skipped")
    assert ended["marts"] == "upstream_failed"
    events = models.ask("/api/v2/assets/events?limit=1000")["asset_events"]
    models.wait("/api/v2/monitor/health", lambda _: told(project) == ["green", "failed"], 60)
    of_marts = {event["source_run_id"] for event in events}
    assert len(of_marts) == 1, "a red run said that its marts are new"
