"""The shop in Airflow: load it, then build the marts. docs/orchestration.md explains it.

Everything runs in the project's own environment; Airflow's has neither dbt nor the loader.
SHOP_DAG=models shows each model as a task of its own. All variables are in the environment, where
also SOURCE, TARGET, DUCKDB_PATH and the libpq variables are.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

PROJECT = Path(os.environ.get("SHOP_PROJECT") or Path(__file__).resolve().parents[3])
PYTHON = os.environ.get("SHOP_PYTHON") or str(PROJECT / ".venv" / "bin" / "python")
TARGET = os.environ.get("TARGET") or "duckdb"
# One process may write a DuckDB file. A server takes more: there only max_active_runs counts.
POOL = "shop_warehouse" if TARGET == "duckdb" else "default_pool"
SCHEDULE = os.environ.get("SHOP_SCHEDULE") or "@hourly"

DONE, DONE_WITH_ISSUES, USAGE, BUSY = 0, 3, 2, 75  # exit codes of the loader and of a build
RED = "FAILED after"  # how the last line of a build begins that ran to its end and is red
RETRIES = {
    "retries": 3,
    "retry_delay": timedelta(seconds=float(os.environ.get("SHOP_RETRY_SECONDS") or 60)),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
}


class ProjectCommand(BaseOperator):
    """Runs a command of the project, and tries again only what another try can mend."""

    def __init__(self, *, arguments: Sequence[str], done: Collection[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self.done = tuple(done)

    @cached_property
    def hook(self) -> SubprocessHook:
        """What starts the command and logs its lines."""
        return SubprocessHook()

    def execute(self, context: Any) -> None:
        """Run it. Raises AirflowFailException where another try ends the same way."""
        ended = self.hook.run_command(
            [PYTHON, *self.arguments],
            env={**os.environ, **PATHS, "PYTHONUNBUFFERED": "1"},
            cwd=str(PROJECT),
        )
        code, last = ended.exit_code, ended.output
        if code in self.done:
            return
        if code == USAGE or last.startswith(RED):
            raise AirflowFailException(f"Exit code {code}, not tried again: {last}")
        what = "Another run is writing into the warehouse" if code == BUSY else f"Exit code {code}"
        raise AirflowException(f"{what}: {last}")

    def on_kill(self) -> None:
        """End the command with the task."""
        self.hook.send_sigterm()


# Cosmos starts dbt in a copy of the project's folder, so a path has to be whole.
PATHS = {}
if TARGET == "duckdb":
    PATHS["DUCKDB_PATH"] = str(PROJECT / (os.environ.get("DUCKDB_PATH") or "warehouse.duckdb"))


def tell(event: str, context: Any) -> None:
    """Give what happened to SHOP_ALERT, a command, as JSON; it never fails a run."""
    run = context.get("dag_run")
    said = {
        "event": event,
        "run": getattr(run, "run_id", context.get("run_id")),
        "reason": context.get("reason"),
        "project": str(PROJECT),
    }
    if not (command := os.environ.get("SHOP_ALERT")):
        return
    try:
        subprocess.run(
            shlex.split(command), input=json.dumps(said), text=True, cwd=PROJECT, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"SHOP_ALERT failed: {error}")


def failed(context: Any) -> None:
    """A run failed, after all its retries."""
    tell("failed", context)


def green(context: Any) -> None:
    """A run is green."""
    tell("green", context)


def marts() -> list[Asset]:
    """An asset for each mart, so that other DAGs can wait for it: `marts.fact_orders`."""
    names = sorted(path.stem for path in (PROJECT / "models" / "marts").rglob("*.sql"))
    return [Asset(name=f"marts.{name}", uri=f"shop://marts/{name}") for name in names]


LOAD_DOC = """\
`python -m loader`: copies what has changed in the shop into the raw tables, all or nothing. A load
that fails has changed nothing, so it is tried again: 3 times, after 1, 2 and 4 minutes. A wrong
command (exit 2) is not. Exit 3 is done, with values that could not be stored exactly."""

BUILD_DOC = """\
`scripts/build.py --loaded`: builds and tests what has changed, and publishes it as a whole if it is
green. A red test is not tried again, because it would be red again; a warehouse that is
busy (exit 75) or cannot be reached is."""

PREPARE_DOC = "`scripts/build.py --prepare`: gives dbt its packages and a profile."

PRODUCER_DOC = "The one `dbt build`; the other tasks wait for what it says of their nodes."

MARTS_DOC = "Says that all marts are new: DAGs that wait for one of these assets start now."


def one_task() -> BaseOperator:
    """All of dbt as one task, as `make build` does it."""
    return ProjectCommand(
        task_id="build",
        arguments=["scripts/build.py", "--loaded"],
        done=[DONE],
        pool=POOL,
        outlets=marts(),
        doc_md=BUILD_DOC,
        **RETRIES,
    )


def task_a_model() -> tuple[Any, BaseOperator]:
    """One `dbt build`, and a task for each node that waits for it: Cosmos's watcher mode."""
    from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
    from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior

    # A second try of the first would build nothing, and one of the others single models.
    once = {"retries": 0}
    manifest = Path(os.environ.get("SHOP_MANIFEST") or PROJECT / "target" / "manifest.json")
    profiles = Path(os.environ.get("DBT_PROFILES_DIR") or PROJECT) / "profiles.yml"
    group = DbtTaskGroup(
        group_id="dbt",
        project_config=ProjectConfig(
            dbt_project_path=PROJECT,
            manifest_path=manifest,
            install_dbt_deps=False,
        ),
        profile_config=ProfileConfig(
            profile_name="classicmodels", target_name=TARGET, profiles_yml_filepath=profiles
        ),
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.WATCHER,
            invocation_mode=InvocationMode.SUBPROCESS,
            dbt_executable_path=PROJECT / "orchestration" / "airflow" / "dbt",
            setup_operator_args={"pool": POOL, **once},
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            test_behavior=TestBehavior.AFTER_EACH,
            emit_datasets=False,
        ),
        operator_args={
            "install_deps": False,
            "append_env": True,
            "env": {
                **PATHS,
                "SHOP_PROJECT": str(PROJECT),
                "SHOP_PYTHON": PYTHON,
                "WAIT": os.environ.get("WAIT") or "600",
            },
            # A trigger that fires at once may overtake the scheduler, which then takes the task for
            # lost: a scheduler that is busy has seen it. To come again later needs no slot either.
            "deferrable": False,
            "mode": "reschedule",
            "poke_interval": 10,
            **once,
        },
    )
    nodes = json.loads(manifest.read_text("utf-8"))["nodes"]
    for task in group.iter_tasks():
        node = nodes.get(getattr(task, "model_unique_id", None), {})
        task.doc_md = node.get("description") or task.doc_md or PRODUCER_DOC
    last = EmptyOperator(task_id="marts", outlets=marts(), doc_md=MARTS_DOC)
    return group, last


with DAG(
    dag_id="shop",
    description="Load the shop, build and test the marts",
    schedule=None if SCHEDULE == "none" else SCHEDULE,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    on_failure_callback=failed,
    on_success_callback=green,
    doc_md=__doc__,
    tags=["classicmodels"],
) as dag:
    load = ProjectCommand(
        task_id="load",
        arguments=["-m", "loader", "--require", "models"],
        done=[DONE, DONE_WITH_ISSUES],
        pool=POOL,
        doc_md=LOAD_DOC,
        **RETRIES,
    )
    if os.environ.get("SHOP_DAG") == "models":
        prepare = ProjectCommand(
            task_id="prepare",
            arguments=["scripts/build.py", "--prepare"],
            done=[DONE],
            doc_md=PREPARE_DOC,
            **RETRIES,
        )
        group, all_marts = task_a_model()
        load >> prepare >> group >> all_marts
    else:
        load >> one_task()
