"""The other tools that `benchmark_loader.py --peers` measures, each in its own environment.

sling and ingestr are not among them: their packages download a program from outside the package
index when they first run.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DLT = """
import os, sys, dlt
from dlt.sources.sql_database import sql_database
url, target, where = sys.argv[1:4]
destination = getattr(dlt.destinations, target)(where)
pipeline = dlt.pipeline("bench", destination=destination, dataset_name="peer",
                        pipelines_dir=os.environ["PEER_DATA"])
source = sql_database(url.replace("mysql://", "mysql+pymysql://"), backend="connectorx",
                      backend_kwargs={"return_type": "arrow"})
# It cannot write bytes that are not UTF-8, so it leaves out the table with pictures.
source = source.with_resources(*(name for name in source.resources if name != "productlines"))
# Its fast way into PostgreSQL needs Parquet files; for DuckDB it chooses by itself.
kind = {"loader_file_format": "parquet"} if target == "postgres" else {}
pipeline.run(source, write_disposition="replace", **kind)
"""
CONNECTORX = """
import sys, connectorx
url, target, where, *tables = sys.argv[1:]
def rows_of(table):
    return connectorx.read_sql(url, f"select * from {table}", return_type="arrow_stream")
if target == "postgres":
    import adbc_driver_postgresql.dbapi
    with adbc_driver_postgresql.dbapi.connect(where) as connection, connection.cursor() as cursor:
        cursor.execute("create schema peer")
        for table in tables:
            cursor.adbc_ingest(table, rows_of(table), mode="create", db_schema_name="peer")
        connection.commit()
else:
    import duckdb
    with duckdb.connect(where) as connection:
        for table in tables:
            rows = rows_of(table)
            connection.execute(f"create table {table} as select * from rows")
"""
DUCKDB_EXTENSION = """
import sys, duckdb
from pathlib import Path
from urllib.parse import urlsplit
import duckdb_extension_mysql_scanner
url, _, where, *tables = sys.argv[1:]
shop = urlsplit(url)
folder = Path(duckdb_extension_mysql_scanner.__file__).parent
(extension,) = folder.rglob("mysql_scanner.duckdb_extension")
with duckdb.connect(where) as connection:
    connection.execute(f"load '{extension}'")
    connection.execute(f"attach 'host={shop.hostname} port={shop.port} user={shop.username}"
                       f" password={shop.password} database={shop.path[1:]}' as shop (type mysql)")
    for table in tables:
        connection.execute(f"create table {table} as select * from shop.{table}")
"""
PGLOADER = """
import subprocess, sys
url, _, where = sys.argv[1:4]
command = (f"load database from {url} into {where} with create no indexes, no foreign keys"
           " alter schema 'shop' rename to 'peer';")
subprocess.run(["pgloader", "/dev/stdin"], input=command, text=True, check=True)
"""


@dataclass(frozen=True)
class Peer:
    """A tool: its packages, the warehouses that it can load, and the script that loads."""

    name: str
    requirements: tuple[str, ...]
    targets: tuple[str, ...]
    script: str

    def command(
        self, folder: Path, url: str, target: str, where: str, tables: Sequence[str]
    ) -> list[str]:
        """The command that loads the tables at a URL; it makes its environment below `folder`."""
        home = folder / self.name.partition(" ")[0]
        python = home / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            if self.requirements:
                pip = [str(python), "-m", "pip", "install", "--quiet"]
                subprocess.run([*pip, *self.requirements], check=True)
        return [str(python), "-c", self.script, url, target, where, *tables]


PEERS = (
    Peer(
        "dlt (connectorx, ADBC)",
        (
            "dlt[postgres,duckdb,sql_database]",
            "connectorx",
            "sqlalchemy>=2",
            "pymysql",
            "pyarrow",
            "duckdb<2",
            "adbc-driver-manager",
            "adbc-driver-postgresql",
        ),
        ("postgres", "duckdb"),
        DLT,
    ),
    Peer(
        "connectorx + ADBC",
        ("connectorx", "pyarrow", "duckdb<2", "adbc-driver-manager", "adbc-driver-postgresql"),
        ("postgres", "duckdb"),
        CONNECTORX,
    ),
    Peer(
        "extension of DuckDB",
        ("duckdb==1.5.5", "duckdb-extension-mysql-scanner==1.5.5"),
        ("duckdb",),
        DUCKDB_EXTENSION,
    ),
    Peer("pgloader", (), ("postgres",), PGLOADER),
)


def installed_peers() -> Iterator[Peer]:
    """Those that can be measured here; pgloader comes from the distribution, if at all."""
    for peer in PEERS:
        if peer.script is not PGLOADER or shutil.which("pgloader"):
            yield peer


def with_user(url: str, user: str, password: str) -> str:
    """The URL with a plain user: some tools cannot read an encoded password."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}").geturl()
