"""Run dbt by itself under the lock of the warehouse, as `make build` does, for orchestrators.

Exit status: dbt's, or 75 when another run is writing (WAIT=600 waits up to 600 seconds).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from loader.errors import BusyError, LoadError
from loader.lock import BUSY
from pipeline.project import PROJECT, raw_schema
from pipeline.target import chosen_warehouse
from pipeline.warehouse import ProfileError

# What leaves the warehouse as it is needs no lock.
READS = ("--version", "debug", "deps", "list", "ls", "parse")


def say(text: str) -> None:
    """Say it where it does not disturb what dbt prints."""
    print(f"dbt: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run dbt with these arguments, in this folder."""
    arguments = sys.argv[1:] if arguments is None else arguments
    here = Path.cwd()
    command = [str(Path(sys.executable).with_name("dbt")), *arguments]
    if any(word in READS for word in arguments):
        return subprocess.run(command, check=False).returncode
    # dbt gets the signal too, and has to end before the lock does. A handler is not inherited.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    os.chdir(PROJECT)
    try:
        with chosen_warehouse().destination(raw_schema()).alone("dbt", say):
            return subprocess.run(command, cwd=here, check=False).returncode
    except BusyError as error:
        say(str(error))
        return BUSY
    except (LoadError, ProfileError) as error:
        say(str(error))
        return 1
