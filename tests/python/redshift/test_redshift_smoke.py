"""The smoke script for a real Redshift, run through the shim as far as that goes."""

import os
import subprocess
import sys

import pytest

from support.clone import REPO
from support.shim import Shim
from tools.servers import HOST, PostgresServer

# What PostgreSQL does in another way, so that these must fail here: the script can tell.
ONLY_THERE = {
    "encryption",  # the shim has none
    "text_lengths",  # characters, not bytes
    "trailing_blanks",  # they count
    "what_commits",  # nothing does
    "late_binding",  # views are bound at once
}


@pytest.fixture
def smoke_environment(
    shim: Shim, postgres: PostgresServer, redshift_database: str, s3: str
) -> dict[str, str]:
    """What a person would set."""
    return os.environ | {
        "REDSHIFT_HOST": HOST,
        "REDSHIFT_PORT": str(shim.port),
        "REDSHIFT_DATABASE": redshift_database,
        "REDSHIFT_USER": postgres.user,
        "REDSHIFT_PASSWORD": postgres.password,
        "REDSHIFT_SSLMODE": "disable",
        "REDSHIFT_S3_STAGING": s3,
        "REDSHIFT_IAM_ROLE": "default",
    }


@pytest.mark.long
def test_the_smoke_script(
    smoke_environment: dict[str, str], postgres: PostgresServer, redshift_database: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.redshift_smoke"],
        env=smoke_environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    verdicts = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()}
    assert {name for name, verdict in verdicts.items() if verdict == "FAILED"} == ONLY_THERE, (
        done.stdout + done.stderr
    )
    assert {name for name, verdict in verdicts.items() if verdict == "skipped"} == {"marts"}
    assert done.returncode == 1
    assert (
        postgres.execute(
            "select nspname from pg_namespace where nspname like 'classicmodels%'",
            redshift_database,
        )
        == []
    )
    # The page for operators explains every check.
    page = REPO / "docs" / "redshift.md"
    assert [name for name in verdicts if f"`{name}`" not in page.read_text("utf-8")] == []


def test_it_says_what_is_missing(smoke_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.redshift_smoke"],
        env=smoke_environment | {"REDSHIFT_HOST": "", "REDSHIFT_SSLMODE": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "REDSHIFT_HOST is not set" in done.stderr
