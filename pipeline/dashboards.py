"""Open the dashboards of bi/superset in Apache Superset, on this machine only: `make bi`.

TARGET, DUCKDB_PATH and the libpq variables name the warehouse as for make build; BI_PGUSER and
BI_PGPASSWORD log in to PostgreSQL as another user, who may only read. BI_VENV is the environment
that has Superset (default: .venv-bi). Superset's own data is in .superset; only its owner can read
it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from loader import UsageError
from pipeline.local_server import ServerError, private_folder, refuse_taken
from pipeline.project import PROJECT
from pipeline.target import chosen_warehouse
from pipeline.warehouse import ProfileError, Warehouse, WarehouseError

STATE = PROJECT / ".superset"
SUPERSET = PROJECT / "bi" / "superset"
# The shell's settings for another Superset or server must not open this one to others.
FOREIGN = ("SUPERSET_", "FLASK_", "GUNICORN_", "TALISMAN_")


class DashboardError(ServerError):
    """The dashboards cannot be opened; the text says why and what to do."""


def readable_warehouse() -> Warehouse:
    """The warehouse with its reader's login, after a look at its marts.

    Raises DashboardError, ProfileError, UsageError.
    """
    warehouse = chosen_warehouse().for_reader(os.environ)
    if not warehouse.dialect:
        raise DashboardError(
            f"The dashboards read DuckDB or PostgreSQL, not {warehouse.kind}: set TARGET to one of"
            " these."
        )
    try:
        with warehouse.reading() as ask:
            ask(f'select as_of_date from "{warehouse.marts}".sales_last_30_days limit 1')
    except WarehouseError as error:
        raise DashboardError(
            f"{error} Run make build first, or set {warehouse.variable} to another warehouse."
        ) from None
    return warehouse


def assets(dialect: str, marts: str) -> dict[str, str]:
    """The files of bi/superset by path, for a dialect of SQLAlchemy's and the schema of marts."""
    found = {}
    for path in sorted(SUPERSET.rglob("*.yaml")):
        content = yaml.safe_load(path.read_text("utf-8"))
        if path.parent.name == "databases":
            place = content["sqlalchemy_uri"].partition(":")[2]
            content["sqlalchemy_uri"] = f"{dialect}:{place}"
        elif path.parent.name == "datasets":
            content["schema"] = marts
            if content["sql"]:
                content["sql"] = re.sub(r"\bmarts\.", f'"{marts}".', content["sql"])
        found[path.relative_to(SUPERSET).as_posix()] = yaml.safe_dump(content, sort_keys=False)
    return found


def prepare(python: Path, environment: dict[str, str], files: dict[str, str]) -> None:
    """Bring Superset's own database up to date, unless nothing changed since the last time.

    Raises DashboardError.
    """
    code = [SUPERSET / name for name in ("superset_config.py", "prepare.py")]
    code.append(PROJECT / "requirements" / "superset.txt")
    parts = [json.dumps(files), *(path.read_text("utf-8") for path in code)]
    wanted = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    mark = STATE / "prepared"
    if mark.is_file() and mark.read_text("ascii") == wanted:
        return
    if not mark.exists():
        # An interrupted first run may have left half a database.
        (STATE / "superset.db").unlink(missing_ok=True)
        print("Preparing Superset, which takes a minute the first time ...", flush=True)
    else:
        print("Bringing Superset up to date ...", flush=True)
    log = STATE / "prepare.log"
    with log.open("wb") as lines:
        done = subprocess.run(
            [python, "prepare.py"],
            cwd=SUPERSET,
            env=environment,
            input=json.dumps(files).encode(),
            stdout=subprocess.PIPE,
            stderr=lines,
            check=False,
        )
    if done.stdout:
        print(f"User admin, password {done.stdout.decode().strip()}  (shown this once)", flush=True)
    if done.returncode:
        raise DashboardError(
            f"Superset could not be prepared; see {log}. To start from the beginning: rm -r {STATE}"
        )
    mark.write_text(wanted, "ascii")


def secret_key() -> None:
    """Make the key that signs sessions, once; only its owner can read it."""
    with contextlib.suppress(FileExistsError):
        file = os.open(STATE / "secret_key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as key:
            key.write(secrets.token_hex(32))


def serve(port: int) -> None:
    """Prepare Superset and become its server. Raises DashboardError, ProfileError, UsageError.

    This process becomes the server: a process in between could end without it.
    """
    python = (Path(os.environ.get("BI_VENV") or PROJECT / ".venv-bi") / "bin" / "python").absolute()
    if not python.is_file():
        raise DashboardError(f"There is no Superset in {python.parents[1]}: run make bi.")
    warehouse = readable_warehouse()
    refuse_taken(port, "make bi")
    private_folder(STATE)
    secret_key()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
        "SUPERSET_HOME": str(STATE),
        "BI_WAREHOUSE": json.dumps({"kind": warehouse.kind, "connection": warehouse.connection}),
        "BI_PORT": str(port),
    }
    prepare(python, environment, assets(warehouse.dialect, warehouse.marts))
    log = STATE / "superset.log"
    print(f"Starting Superset on {warehouse.kind}: {warehouse.place} (log: {log}) ...", flush=True)
    os.chdir(SUPERSET)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), sys.stderr.fileno())
    gunicorn = ["-m", "gunicorn", "--config", "gunicorn.conf.py", "superset.app:create_app()"]
    os.execve(python, [str(python), *gunicorn], environment)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; exit status 1, with a sentence, when the dashboards cannot be opened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8088)
    port = parser.parse_args(arguments).port
    os.chdir(PROJECT)
    try:
        serve(port)
    except (ServerError, ProfileError, UsageError) as error:
        print(f"make bi: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("make bi: interrupted", file=sys.stderr)
        return 130
    return 1
