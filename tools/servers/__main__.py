"""Names the missing programs of the tests, and installs them: `python -m tools.servers`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tools.servers.mariadb import MariaDBServer
from tools.servers.postgres import PostgresServer
from tools.servers.programs import Chromium, Program, ServerError

PROGRAMS: tuple[type[Program], ...] = (MariaDBServer, PostgresServer, Chromium)


def missing_programs() -> dict[type[Program], str]:
    """The missing programs, each with a sentence that says so."""
    missing = {}
    for program in PROGRAMS:
        try:
            program.find_binaries()
        except ServerError as error:
            missing[program] = str(error)
    return missing


def install(programs: Sequence[type[Program]]) -> None:
    """Install the programs' Debian packages, without starting a server.

    Raises ServerError where that is impossible: no apt-get, no right to use it, no network.
    """
    if not shutil.which("apt-get"):
        raise ServerError("only Debian's packages are installed automatically (no apt-get here)")
    sudo: list[str] = []
    if os.geteuid() != 0:
        sudo = ["sudo", "-n"]
        if (
            not shutil.which("sudo")
            or subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode
        ):
            raise ServerError("installing packages needs root or a password-less sudo")
    packages = [package for program in programs for package in program.packages]
    done = subprocess.run(
        [*sudo, "sh", "-euc", _INSTALL, "install", *packages],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ServerError(f"apt-get install {' '.join(packages)} failed: {(said or ['?'])[-1]}")


# Debian starts a server, and PostgreSQL makes a first cluster, when their packages are installed.
# The tests start their own servers, so both are forbidden during the installation.
_INSTALL = """
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/classicmodels.conf
mine=
trap 'rm -f "$cluster" $mine' EXIT
if [ ! -e "$policy" ]; then
    mine=$policy
    printf '#!/bin/sh\\nexit 101\\n' > "$policy"
    chmod 755 "$policy"
fi
mkdir -p "${cluster%/*}"
echo 'create_main_cluster = false' > "$cluster"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Name the missing programs; exit status 1 when one is missing at the end."""
    parser = argparse.ArgumentParser(description="Find the programs that the tests start.")
    parser.add_argument(
        "--install", action="store_true", help="install what is missing (Debian, root or sudo)"
    )
    options = parser.parse_args(arguments)
    missing = missing_programs()
    if missing and options.install:
        names = " and ".join(program.title for program in missing)
        print(f"Installing {names} (Debian's packages; no server is started) ...", flush=True)
        try:
            install(list(missing))
        except ServerError as error:
            print(f"Not installed: {error}.")
        missing = missing_programs()
    for sentence in missing.values():
        print(sentence)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
