"""Fixtures that the tests share: private servers, a clean environment, the real sample."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import duckdb
import psycopg
import pytest
from botocore.config import Config
from playwright.sync_api import Browser, Page, sync_playwright

from loader import DuckDBDestination, PostgresDestination
from loader.destinations import Destination
from loader.destinations.redshift.destination import RedshiftDestination
from loader.destinations.redshift.files import StagingFiles
from support.built import BuiltWarehouses
from support.clone import REPO as REPO
from support.logging_servers import into_duckdb as into_duckdb
from support.logging_servers import into_postgres as into_postgres
from support.logging_servers import logging_mariadb as logging_mariadb
from support.logging_servers import logging_mysql as logging_mysql
from support.logging_servers import logging_postgres as logging_postgres
from support.logging_servers import target as target
from support.one_run import OneRun, own, share
from support.outages import impatient as impatient
from support.shim import Shim, prepare
from tools.servers import (
    HOST,
    Chromium,
    MariaDBServer,
    MySQLServer,
    PostgresServer,
    Program,
    ServerError,
    free_port,
)

Open = Callable[[], Destination]
Ask = Callable[[str], list[tuple[Any, ...]]]

REQUIRE_SERVERS = os.environ.get("REQUIRE_SERVERS", "") not in ("", "0")
CLASSICMODELS_SQL = os.environ.get("CLASSICMODELS_SQL", "")

# What a developer's shell may hold and what would lead a test to a database that is not its own.
_PREFIXES = ("PG", "LOADER_PG", "DBT_", "MYSQL_", "REDSHIFT_", "AWS_")
_NAMES = (
    "AS_OF_DATE",
    "SOURCE",
    "TARGET",
    "DUCKDB_PATH",
    "SOURCE_URL",
    "SOURCE_PASSWORD",
    "ALLOW_OTHER_SOURCE",
    "WAIT",
    "QUIET",
    "LOG_FORMAT",
    "LOAD_CONFIG",
    "LOAD_HASH_SALT",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(OneRun(config), "one_run")


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported, and most of its rounds.

    It took a sixth of dbt's time, whose objects all stay.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def require(program: type[Program]) -> None:
    """Skip a test whose server or browser is not installed; under REQUIRE_SERVERS let it fail."""
    try:
        program.find_binaries()
    except ServerError as error:
        if REQUIRE_SERVERS:
            pytest.fail(f"REQUIRE_SERVERS is set, but {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the developer's shell reaches a test, or a fixture of any scope."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_PREFIXES) or name in _NAMES:
                patch.delenv(name)
        patch.setenv("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let all processes of the run find what one of them made."""
    base = tmp_path_factory.getbasetemp()
    share(base.parent if hasattr(request.config, "workerinput") else base)


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest) -> Iterator[MariaDBServer]:
    """The MariaDB server of all tests; make a database of your own on it."""
    yield from shared(request, MariaDBServer, "mariadb")


@pytest.fixture(scope="session")
def small_mariadb(request: pytest.FixtureRequest) -> Iterator[MariaDBServer]:
    """Another one, with the packet size that servers have by default; `mariadb` takes more."""
    yield from shared(request, MariaDBServer, "small_mariadb")


@pytest.fixture(scope="session")
def mysql(request: pytest.FixtureRequest) -> Iterator[MySQLServer]:
    """A server of MySQL itself. Its tests are skipped where there is none, as on Debian 12."""
    try:
        MySQLServer.find_binaries()
    except ServerError as error:
        pytest.skip(str(error))
    yield from shared(request, MySQLServer, "mysql")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The PostgreSQL server of all tests; make a database of your own on it."""
    yield from shared(request, PostgresServer, "postgres")


def shared(request: pytest.FixtureRequest, kind: type[Program], name: str) -> Iterator[Any]:
    require(kind)
    run: Any = request.config.pluginmanager.get_plugin("one_run")
    with run.server(name) as server:
        yield server


@pytest.fixture(scope="session")
def shim(postgres: PostgresServer) -> Iterator[Shim]:
    """A way to that server on which it answers as Redshift would."""
    with Shim(postgres) as shim:
        yield shim


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest, shared_folder: None) -> BuiltWarehouses:
    """Copies of warehouses over the sample shop, loaded and built."""
    return BuiltWarehouses(request.getfixturevalue)


@contextlib.contextmanager
def s3_server() -> Iterator[subprocess.Popen[bytes]]:
    """An S3 server in a process of its own, to which the environment leads every client."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environment = {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            # The client tries again until the server listens.
            patient = Config(retries={"max_attempts": 12})
            boto3.client("s3", config=patient).create_bucket(
                Bucket="staging", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
            )
            yield server
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def s3(clean_environment: None) -> Iterator[str]:
    """A bucket of an S3 server of the tests' own: its URL."""
    with s3_server():
        yield "s3://staging/loads"


@pytest.fixture
def redshift(
    request: pytest.FixtureRequest, shim: Shim, postgres: PostgresServer, s3: str
) -> Callable[..., RedshiftDestination]:
    """How to open a Redshift warehouse through the shim; `s3=None` for one without a bucket.

    Its database is in the fixture `redshift_database`.
    """
    database = request.getfixturevalue("redshift_database")

    def opened(s3: str | None = s3, role: str = "arn:aws:iam::1:role/copy") -> RedshiftDestination:
        connection = {
            "host": HOST,
            "port": shim.port,
            "database": database,
            "user": postgres.user,
            "password": postgres.password,
            "ssl": False,
        }
        found = RedshiftDestination("raw", connection, StagingFiles(s3) if s3 else None, role)
        found.name_limit = 63  # behind the shim names are PostgreSQL's
        return found

    return opened


@pytest.fixture
def redshift_database(request: pytest.FixtureRequest, postgres: PostgresServer) -> str:
    """A database of the PostgreSQL server that has what Redshift's catalog has."""
    name = own(f"redshift_{abs(hash(request.node.name)) % 10**8}")
    postgres.create_database(name)
    prepare(postgres, name)
    return name


def _duckdb(request: pytest.FixtureRequest, folder: Path) -> tuple[Open, Ask]:
    path = folder / "warehouse.duckdb"

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path)) as connection:
            rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return rows

    return lambda: DuckDBDestination("raw", path), ask


def _postgres(request: pytest.FixtureRequest, folder: Path) -> tuple[Open, Ask]:
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database(own(f"warehouse_{abs(hash(request.node.name)) % 10**8}"))
    options = {k: str(v) for k, v in psycopg.conninfo.conninfo_to_dict(url).items()}

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    return lambda: PostgresDestination("raw", **options), ask


def _redshift(request: pytest.FixtureRequest, folder: Path) -> tuple[Open, Ask]:
    server: PostgresServer = request.getfixturevalue("postgres")
    opened = request.getfixturevalue("redshift")
    database = request.getfixturevalue("redshift_database")
    # By INSERT, which is quicker for few rows; what is COPY's own has tests of its own.
    return lambda: opened(s3=None), lambda sql: server.execute(sql, database)


# A new destination is one row here, and then has all that is tested of each.
WAREHOUSES = {"duckdb": _duckdb, "postgres": _postgres, "redshift": _redshift}


@pytest.fixture(params=WAREHOUSES)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Open, Ask]:
    """How to open each destination, with the raw schema `raw`, and how to ask or change it."""
    return WAREHOUSES[request.param](request, tmp_path)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium for the whole session."""
    require(Chromium)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=Chromium.find_binaries()["chromium"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page in a profile of its own, which forgets everything at the end."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture(scope="session")
def classicmodels_sql() -> Path:
    """The dump of the real sample, which is not part of the repository."""
    if not CLASSICMODELS_SQL:
        pytest.skip("CLASSICMODELS_SQL does not name a dump of the classicmodels sample")
    path = Path(CLASSICMODELS_SQL).resolve()
    if not path.is_file():
        pytest.fail(f"CLASSICMODELS_SQL names {path}, which is no file", pytrace=False)
    return path
