"""Runs in Airflow's environment: one run of the DAG without a scheduler, told as JSON.

python airflow_run.py FOLDER-OF-DAGS FILE-FOR-JSON [exit code of a command ...]
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from airflow.sdk.exceptions import AirflowException, AirflowFailException

import shop


def ended(code: str, text: str) -> str:
    """How a task ends whose command ends so."""
    program = f"import sys; print({text!r}); sys.exit({code})"
    task = shop.ProjectCommand(task_id=f"t{code}", arguments=["-c", program], done=[0, 3])
    try:
        task.execute({})
    except AirflowFailException:
        return "failed"
    except AirflowException:
        return "tried again"
    return "done"


found: dict[str, object]
if len(sys.argv) > 3:
    found = {"ends": {arg: ended(*arg.split(" ", 1)) for arg in sys.argv[3:]}}
else:
    run = shop.dag.test()
    found = {
        "state": run.state,
        "tasks": {task.task_id: [task.state, task.try_number] for task in run.get_task_instances()},
    }
Path(sys.argv[2]).write_text(json.dumps(found), "utf-8")
