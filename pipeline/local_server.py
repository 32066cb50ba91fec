"""What `make airflow` and `make dagster` share: a service for one person, on this machine."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from loader import LoadError
from loader.config import find_config
from pipeline.dbt_packages import PackageError
from pipeline.project import PROJECT
from pipeline.shop import SAMPLE_URL, make_sample
from pipeline.steps import Steps
from pipeline.warehouse import DuckDB, ProfileError, Warehouse
from sample_shop.shop import ShopError

PATIENCE = 30.0  # seconds in which a part has to end


class ServerError(RuntimeError):
    """The service cannot be started, or a part of it ended; the text says why and what to do."""


def main(
    arguments: Sequence[str] | None,
    about: str,
    command: str,
    port: int,
    serve: Callable[[int], None],
) -> int:
    """Serve until Ctrl-C; exit status 1, with a sentence, when the service cannot be started."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--port", type=int, default=port)
    given = parser.parse_args(arguments)
    os.chdir(PROJECT)
    try:
        serve(given.port)
    except (LoadError, PackageError, ProfileError, ServerError, ShopError) as error:
        print(f"{command}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return 130
    return 1


def parse_project(warehouse: Warehouse) -> None:
    """Let dbt write the manifest, from which DAGs and assets are drawn. Raises ServerError."""
    dbt = str(Path(sys.executable).with_name("dbt"))
    if subprocess.run([dbt, "--quiet", "parse", *warehouse.options], check=False).returncode:
        raise ServerError("dbt cannot read the project; see its message above.")


def refuse_taken(port: int, command: str) -> None:
    """Raise ServerError when the port cannot be listened on."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise ServerError(
            f"Port {port} cannot be used ({error}); try {command} PORT={port + 1}."
        ) from None


def private_folder(folder: Path) -> None:
    """Make a folder that, with all that this process makes from now on, only its owner can read."""
    os.umask(0o077)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)


def own_environment(variable: str, default: str, name: str, command: str) -> Path:
    """The folder bin of the virtual environment that has the service. Raises ServerError."""
    folder = (Path(os.environ.get(variable) or PROJECT / default) / "bin").absolute()
    if not (folder / "python").is_file():
        raise ServerError(f"There is no {name} in {folder.parent}: run {command}.")
    return folder


def shop_variables(warehouse: Warehouse, started: float) -> dict[str, str]:
    """What an orchestrator's processes need to find project, shop and warehouse.

    Without a SOURCE it is the sample shop, which is made here.
    """
    found = {
        "SHOP_PROJECT": str(PROJECT),
        "SHOP_PYTHON": sys.executable,
        "TARGET": os.environ.get("TARGET") or warehouse.name,
        "DO_NOT_TRACK": "1",
    }
    if isinstance(warehouse, DuckDB):
        found["DUCKDB_PATH"] = str(Path(warehouse.place).absolute())
    if not (os.environ.get("SOURCE") or find_config().source):
        make_sample(Steps(started))
        found["SOURCE"] = SAMPLE_URL
    return found


def run_together(
    commands: Mapping[str, list[str]], environment: Mapping[str, str], logs: Path
) -> None:
    """Run these commands until Ctrl-C or SIGTERM, each with a log; all end together.

    Raises ServerError when one of them ends by itself, KeyboardInterrupt.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parts: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (logs / f"{name}.log").open("wb") as log:
                parts[name] = subprocess.Popen(
                    command,
                    cwd=PROJECT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
        while True:
            for name, part in parts.items():
                if part.poll() is not None:
                    raise ServerError(f"{name} ended; see {logs / name}.log.")
            time.sleep(0.5)
    finally:
        _end(parts)


def _end(parts: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for part in parts.values():
        part.terminate()
    deadline = time.monotonic() + PATIENCE
    for part in parts.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            part.wait(max(0.0, deadline - time.monotonic()))
        # With what it started and left.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(part.pid, signal.SIGKILL)
        part.wait()


def _end_with_parent() -> None:
    """Ask Linux to end this process with the one that started it, also where that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
