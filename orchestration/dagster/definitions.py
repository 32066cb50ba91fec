"""The shop in Dagster: raw tables and models as assets, dbt's tests as their checks.

Loader and dbt run in the project's own environment; Dagster's has neither. docs/orchestration.md
explains it. SOURCE, TARGET, DUCKDB_PATH and the libpq variables name shop and warehouse.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetSelection,
    AssetSpec,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    Failure,
    MaterializeResult,
    RetryRequested,
    ScheduleDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    define_asset_job,
    multi_asset,
    sensor,
)
from dagster_dbt import DbtCliResource, dbt_assets

PROJECT = Path(os.environ.get("SHOP_PROJECT") or Path(__file__).resolve().parents[2])
PYTHON = os.environ.get("SHOP_PYTHON") or str(PROJECT / ".venv" / "bin" / "python")
MANIFEST = Path(os.environ.get("SHOP_MANIFEST") or PROJECT / "target" / "manifest.json")
TARGET = os.environ.get("TARGET") or "duckdb"
SCHEDULE = os.environ.get("SHOP_SCHEDULE") or "@hourly"
# For orchestration/dagster/dbt, which has no second try, and so waits for another run.
os.environ.update(SHOP_PROJECT=str(PROJECT), SHOP_PYTHON=PYTHON)
os.environ.setdefault("WAIT", "600")

DONE, DONE_WITH_ISSUES, USAGE = 0, 3, 2  # exit codes of the loader
RETRIES = 3
SECONDS = float(os.environ.get("SHOP_RETRY_SECONDS") or 60)
RAW = "classicmodels"  # dbt's name of the source

# The raw tables are those that dbt knows. A shop may have more; they have no models.
TABLES = sorted(
    source["name"]
    for source in json.loads(MANIFEST.read_text("utf-8"))["sources"].values()
    if source["source_name"] == RAW and not source["name"].startswith("_")
)


def project_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the project."""
    return subprocess.run([PYTHON, *arguments], cwd=PROJECT, capture_output=True, text=True)


def raw(table: str) -> AssetKey:
    """The asset of a raw table: dagster-dbt's name of the source."""
    return AssetKey([RAW, table])


@multi_asset(
    name="load",
    specs=[AssetSpec(raw(table), group_name="raw") for table in TABLES],
    pool="shop_warehouse",
)
def load(context: AssetExecutionContext) -> Iterator[MaterializeResult]:
    """`python -m loader`: what has changed in the shop, all or nothing.

    A load that fails has changed nothing, so it is tried again, after 1, 2 and 4 minutes; not where
    the command is wrong.
    """
    done = project_command("-m", "loader", "--require", "models", "--log-format", "json")
    for line in done.stderr.splitlines():
        context.log.info(line)
    if done.returncode not in (DONE, DONE_WITH_ISSUES):
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if done.returncode == USAGE:
            raise Failure(f"Exit code {USAGE}, not tried again: {said}", allow_retries=False)
        wait = SECONDS * 2**context.retry_number
        if context.retry_number < RETRIES:
            raise RetryRequested(RETRIES, wait) from Failure(said)
        raise Failure(f"Exit code {done.returncode}: {said}", allow_retries=False)
    *tables, run = [json.loads(line) for line in done.stdout.splitlines()]
    found = {line["table"]: line for line in tables}
    for table in TABLES:
        line = found.get(table, {})
        numbers = {name: line.get(name, 0) for name in ("inserted", "updated", "deleted")}
        yield MaterializeResult(raw(table), metadata={"batch_id": run["batch_id"], **numbers})


@dbt_assets(manifest=MANIFEST, pool="shop_warehouse", name="dbt")
def models(context: AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """`dbt build`: models and snapshots are assets, tests are their checks. No second try."""
    yield from dbt.cli(["build"], context=context).stream()


# Everything, in the order load, dbt.
everything = define_asset_job("shop", AssetSelection.all())
schedule = ScheduleDefinition(
    name="shop_schedule",
    job=everything,
    cron_schedule="@hourly" if SCHEDULE == "none" else SCHEDULE,
    default_status=DefaultScheduleStatus[("STOPPED" if SCHEDULE == "none" else "RUNNING")],
)


@sensor(
    name="watch",
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    asset_selection=AssetSelection.assets(*(raw(table) for table in TABLES)),
)
def watch(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """Show what others loaded, above all `make watch`: each table that changed is materialised."""
    cursor = [context.cursor] if context.cursor else []
    done = project_command("-m", "pipeline.loads", *cursor)
    if done.returncode:
        return SkipReason(done.stderr.strip())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    events = []
    for line in lines:
        changed = line["inserted"] or line["updated"] or line["deleted"]
        if line["table"] in TABLES and changed and not is_known(context, line):
            numbers = {name: line[name] for name in ("rows", "inserted", "updated", "deleted")}
            metadata = {"batch_id": line["batch_id"], **numbers}
            events.append(AssetMaterialization(raw(line["table"]), metadata=metadata))
    last = lines[-1]["batch_id"] if lines else context.cursor
    return SensorResult(asset_events=events, cursor=last)


def is_known(context: SensorEvaluationContext, line: dict[str, Any]) -> bool:
    """Whether Dagster's own run did this load."""
    event = context.instance.get_latest_materialization_event(raw(line["table"]))
    known = event.asset_materialization.metadata.get("batch_id") if event else None
    return known is not None and str(known.value) >= line["batch_id"]


definitions = Definitions(
    assets=[load, models],
    jobs=[everything],
    schedules=[schedule],
    sensors=[watch],
    resources={
        "dbt": DbtCliResource(
            project_dir=str(PROJECT),
            profiles_dir=os.environ.get("DBT_PROFILES_DIR") or str(PROJECT),
            target=TARGET,
            dbt_executable=str(PROJECT / "orchestration" / "dagster" / "dbt"),
        )
    },
)
