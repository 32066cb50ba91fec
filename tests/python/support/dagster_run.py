"""Runs in Dagster's environment: what a step did, as JSON in a file.

    python dagster_run.py FOLDER-OF-DEFINITIONS FILE-FOR-JSON STEP ...

Steps: `nodes` (the assets and their checks), `job` (one run of everything), `watch` (the sensor
once). All share one instance, which ends with them; the sensor's cursor goes on from step to step.
"""

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from dagster import DagsterInstance, build_sensor_context

import definitions as shop


def nodes() -> object:
    graph = shop.definitions.resolve_asset_graph()
    return {
        "assets": sorted(key.path[-1] for key in graph.materializable_asset_keys),
        "checks": sorted(key.name for key in graph.asset_check_keys),
    }


def job(instance: DagsterInstance) -> object:
    run = shop.definitions.resolve_job_def("shop").execute_in_process(
        instance=instance, raise_on_error=False
    )
    events = [event for event in run.all_events if event.is_step_materialization]
    checks = run.get_asset_check_evaluations()
    return {
        "green": run.success,
        "tries": 1 + sum(event.event_type_value == "STEP_RESTARTED" for event in run.all_events),
        "materialized": sorted(event.asset_key.path[-1] for event in events),
        "failed_checks": sorted(check.check_name for check in checks if not check.passed),
        "checks": len(checks),
    }


def watch(instance: DagsterInstance, cursor: list[str | None]) -> object:
    context = build_sensor_context(instance=instance, cursor=cursor[0])
    result = shop.watch(context)
    if not hasattr(result, "asset_events"):
        return {"skipped": result.skip_message}
    cursor[0] = result.cursor
    return sorted(event.asset_key.path[-1] for event in result.asset_events)


found: list[object] = []
with DagsterInstance.ephemeral() as instance:
    cursor: list[str | None] = [None]
    for step in sys.argv[3:]:
        if step == "nodes":
            found.append(nodes())
        elif step == "job":
            found.append(job(instance))
        elif step == "watch":
            found.append(watch(instance, cursor))
        else:  # a command
            found.append(subprocess.run(step, shell=True).returncode)
Path(sys.argv[2]).write_text(json.dumps(found), "utf-8")
