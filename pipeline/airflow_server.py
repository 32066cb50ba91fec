"""Run the DAG of orchestration/airflow in Apache Airflow, on this machine only: `make airflow`.

SOURCE, TARGET, DUCKDB_PATH and the libpq variables name shop and warehouse as for make build.
SHOP_DAG=models shows each model as a task; SHOP_SCHEDULE says when a run begins (default: @hourly;
none: only by hand); SHOP_ALERT is a command that is told how a run ended. AIRFLOW_VENV is the
environment that has Airflow (default: .venv-airflow). What Airflow stores is in .airflow; only its
owner can read it.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence

from pipeline import local_server
from pipeline.build import prepare
from pipeline.local_server import (
    ServerError,
    own_environment,
    parse_project,
    private_folder,
    refuse_taken,
    run_together,
    shop_variables,
)
from pipeline.project import PROJECT
from pipeline.steps import Steps

STATE = PROJECT / ".airflow"
DAGS = PROJECT / "orchestration" / "airflow" / "dags"
COMMAND = "make airflow"
# Not `airflow standalone`: its scheduler and triggerer would serve logs to the whole network. Here
# the server reads them from the folder.
PARTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


def settings(port: int) -> dict[str, str]:
    """Airflow's settings, as variables; what is random it keeps in its airflow.cfg."""
    return {
        "AIRFLOW_HOME": str(STATE),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # One builds; the others only look how far it is. Each is a process.
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(STATE / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        "AIRFLOW__API__WORKERS": "1",
    }


def without_airflow(environment: Mapping[str, str]) -> dict[str, str]:
    """The shell's variables, without those that may open this Airflow to others."""
    return {name: value for name, value in environment.items() if not name.startswith("AIRFLOW_")}


def prepare_airflow(airflow: str, environment: Mapping[str, str]) -> None:
    """Bring Airflow's own database up to date, and make the pool. Raises ServerError."""
    log = STATE / "prepare.log"
    pool = ["pools", "set", "shop_warehouse", "1", "One process writes into a DuckDB warehouse"]
    with log.open("wb") as lines:
        for command in (["db", "migrate"], pool):
            done = subprocess.run(
                [airflow, *command], env=environment, stdout=lines, stderr=lines, check=False
            )
            if done.returncode:
                raise ServerError(
                    f"Airflow could not be prepared; see {log}."
                    f" To start from the beginning: rm -r {STATE}"
                )


def give_password() -> None:
    """Make the password of admin, and print it, unless there is one."""
    passwords = STATE / "passwords.json"
    if passwords.exists():
        return
    password = secrets.token_urlsafe(12)
    passwords.write_text(json.dumps({"admin": password}) + "\n", "utf-8")
    print(f"User admin, password {password}  (shown this once)", flush=True)


def serve(port: int) -> None:
    """Prepare Airflow and run it until Ctrl-C. Raises ServerError and what a build raises."""
    started = time.monotonic()
    folder = own_environment("AIRFLOW_VENV", ".venv-airflow", "Airflow", COMMAND)
    refuse_taken(port, COMMAND)
    warehouse = prepare(Steps(started))
    variables = shop_variables(warehouse, started)
    if os.environ.get("SHOP_DAG") == "models":
        # The DAG is drawn from it.
        parse_project(warehouse)
    private_folder(STATE)
    environment = {
        **without_airflow(os.environ),
        **variables,
        **settings(port),
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    print("Preparing Airflow ...", flush=True)
    airflow = str(folder / "airflow")
    prepare_airflow(airflow, environment)
    give_password()
    print(
        f"Airflow is at http://localhost:{port} in half a minute (Ctrl-C ends it; logs: {STATE})."
        f"\nIt loads and builds {warehouse.label}",
        flush=True,
    )
    commands = {name: [airflow, *arguments] for name, arguments in PARTS.items()}
    run_together(commands, environment, STATE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; exit status 1, with a sentence, when Airflow cannot be started."""
    return local_server.main(arguments, __doc__ or "", COMMAND, 8089, serve)
