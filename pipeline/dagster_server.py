"""Run the definitions of orchestration/dagster in Dagster, on this machine only: `make dagster`.

SOURCE, TARGET, DUCKDB_PATH and the libpq variables name shop and warehouse as for make build;
SHOP_SCHEDULE says when a run begins (default: @hourly; none: only by hand). DAGSTER_VENV is the
environment that has Dagster (default: .venv-dagster). What Dagster stores is in .dagster; only its
owner can read it. Dagster has no login: everybody on this machine can open it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

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

STATE = PROJECT / ".dagster"
DEFINITIONS = PROJECT / "orchestration" / "dagster" / "definitions.py"
COMMAND = "make dagster"
# One run at a time, and in it one step at a time of those that write into the warehouse.
SETTINGS = """\
telemetry: {enabled: false}
concurrency:
  runs: {max_concurrent_runs: 1}
  pools: {default_limit: 1}
"""


def serve(port: int) -> None:
    """Prepare Dagster and run it until Ctrl-C. Raises ServerError and what a build raises."""
    started = time.monotonic()
    folder = own_environment("DAGSTER_VENV", ".venv-dagster", "Dagster", COMMAND)
    refuse_taken(port, COMMAND)
    warehouse = prepare(Steps(started))
    variables = shop_variables(warehouse, started)
    # The assets are those of its manifest.
    parse_project(warehouse)
    private_folder(STATE)
    (STATE / "dagster.yaml").write_text(SETTINGS, "utf-8")
    environment = {
        **os.environ,
        **variables,
        "DAGSTER_HOME": str(STATE),
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    # Both processes would make its database at the same time.
    log = STATE / "prepare.log"
    with log.open("wb") as lines:
        migrate = [str(folder / "dagster"), "instance", "migrate"]
        if subprocess.run(migrate, env=environment, stdout=lines, stderr=lines).returncode:
            raise ServerError(f"Dagster could not be prepared; see {log}.")
    print(
        f"Dagster is at http://localhost:{port} in a few seconds (Ctrl-C ends it; logs: {STATE})."
        f"\nIt loads and builds {warehouse.label}",
        flush=True,
    )
    here = ["-f", str(DEFINITIONS)]
    web = [str(folder / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port), *here]
    daemon = [str(folder / "dagster-daemon"), "run", *here]
    run_together({"dagster-webserver": web, "dagster-daemon": daemon}, environment, STATE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; exit status 1, with a sentence, when Dagster cannot be started."""
    return local_server.main(arguments, __doc__ or "", COMMAND, 8087, serve)
