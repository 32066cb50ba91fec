"""Measure the loader beside the bare pipe and beside what people use today, all in one run.

    python scripts/benchmark_loader.py [--scale 1000] [--runs 3] [--peers FOLDER]

Builds a sample shop in a private MariaDB, loads it into a private PostgreSQL and into DuckDB, and
prints for each way: wall and CPU seconds of the client, its peak memory, what the source sent, and
the ratio of its wall time to that of the bare pipe. The median of the runs counts. With `--peers`
dlt is measured too, in an environment of its own below that folder.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sample_source import create_shop
from servers import MariaDBServer, PostgresServer

HERE = Path(__file__).resolve().parent
# A small process between, because a child's peak memory begins with that of its parent.
LAUNCHER = """
import os, sys, time
began = time.monotonic()
to_stderr = [(os.POSIX_SPAWN_DUP2, 2, 1)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=to_stderr)
_, status, used = os.wait4(pid, 0)
wall = time.monotonic() - began
print(status, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
Command = tuple[list[str], dict[str, str]]
TABLES = (
    "customers",
    "employees",
    "offices",
    "orderdetails",
    "orders",
    "payments",
    "productlines",
    "products",
)
# What the clients' text formats do not agree on is taken out of the bare pipe's way.
SPECIAL = {
    "orders": "select orderNumber, orderDate, requiredDate, shippedDate, status,"
    ' replace(comments, "\\r", " "), customerNumber from orders',
    "productlines": "select productLine, textDescription, htmlDescription, hex(image)"
    " from productlines",
}
SELECTS = [SPECIAL.get(table, f"select * from {table}") for table in TABLES]
DLT_REQUIREMENTS = (
    "dlt[postgres,duckdb,sql_database]",
    "connectorx",
    "sqlalchemy>=2",
    "pymysql",
    "pyarrow",
    "duckdb<2",
)
DLT = """
import os, sys, dlt
from dlt.sources.sql_database import sql_database
url, target, where = sys.argv[1:]
destination = getattr(dlt.destinations, target)(where)
pipeline = dlt.pipeline("bench", destination=destination, dataset_name="dlt_raw",
                        pipelines_dir=os.environ["DLT_DATA"])
source = sql_database(url, backend="connectorx", backend_kwargs={"return_type": "arrow"})
# It cannot write bytes that are not UTF-8, so it is spared the table with pictures.
source = source.with_resources(*(name for name in source.resources if name != "productlines"))
pipeline.run(source, write_disposition="replace")
"""


@dataclass(frozen=True)
class Figures:
    """One run of a command: seconds, peak resident MB, MB that the source sent."""

    wall: float
    cpu: float
    peak: float
    sent: float


class Bench:
    """The servers, and how commands on them are measured and reported."""

    def __init__(self, folder: Path, mariadb: MariaDBServer, postgres: PostgresServer, runs: int):
        self.folder, self.mariadb, self.postgres, self.runs = folder, mariadb, postgres, runs
        self.url = mariadb.url("shop")
        self.duckdb = folder / "warehouse.duckdb"
        self.reference: Figures | None = None

    def report(self, name: str, command: Command, prepare: Callable[[], object] = int) -> Figures:
        """Run a command several times, `prepare` before each, and print the median by wall time."""
        figures = []
        for _ in range(self.runs):
            prepare()
            figures.append(self._measure(*command))
        middle = statistics.median_low([figure.wall for figure in figures])
        result = next(figure for figure in figures if figure.wall == middle)
        self.reference = self.reference or result
        print(
            f"{name:<44}{result.wall:8.2f}{result.cpu:8.2f}{result.peak:9.0f}{result.sent:9.2f}"
            f"{result.wall / self.reference.wall:8.2f}",
            flush=True,
        )
        return result

    def _measure(self, command: Sequence[str], environment: dict[str, str]) -> Figures:
        before = self._sent()
        with tempfile.TemporaryFile() as said:
            launched = subprocess.run(
                [sys.executable, "-I", "-S", "-c", LAUNCHER, *command],
                stdout=subprocess.PIPE,
                stderr=said,
                env=os.environ | environment,
                cwd=self.folder,
            )
            status, wall, cpu, peak = map(float, launched.stdout.split())
            if status:
                said.seek(0)
                raise SystemExit(f"{command[:2]} failed:\n{said.read().decode()[-2000:]}")
        return Figures(wall, cpu, peak, (self._sent() - before) / 1e6)

    def _sent(self) -> int:
        ((_, sent),) = self.mariadb.execute("show global status like 'Bytes_sent'")
        return int(sent)

    # -- the ways ----------------------------------------------------------------------------------

    def select(self) -> Command:
        """The server's own client reads everything and throws it away."""
        return ["sh", "-c", f"{self._client()} -e '{'; '.join(SELECTS)}' > /dev/null"], {}

    def pipe(self) -> Command:
        """The server's own clients, table by table: nothing is typed, checked or made visible."""
        copies = "; ".join(
            f"{self._client()} -e '{select}' | psql -q -c '\\copy piped.{table} from stdin'"
            for table, select in zip(TABLES, SELECTS, strict=True)
        )
        return ["sh", "-c", f"set -e; {copies}"], self.postgres.environment("warehouse")

    def load(self, target: str, *arguments: str) -> Command:
        """This loader."""
        environment = {"SOURCE": self.url, "TARGET": target, "DUCKDB_PATH": str(self.duckdb)}
        if target == "postgres":
            environment |= self.postgres.environment("warehouse")
        return [sys.executable, str(HERE / "load.py"), *arguments], environment

    def dlt(self, python: Path, target: str) -> Command:
        """dlt with its fastest backend, into tables that it replaces."""
        script = self.folder / "with_dlt.py"
        script.write_text(DLT)
        where = str(self.folder / "dlt.duckdb")
        if target == "postgres":
            where = self.postgres.url("warehouse")
        environment = {"DLT_DATA": str(self.folder / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
        url = self.url.replace("mysql://", "mysql+pymysql://")
        return [str(python), str(script), url, target, where], environment

    # -- what goes before --------------------------------------------------------------------------

    def empty_pipe(self) -> None:
        """Tables of text for the pipe to fill."""
        statements = ["drop schema if exists piped cascade", "create schema piped"]
        for table in TABLES:
            columns = self.mariadb.execute(
                "select column_name from information_schema.columns where table_schema = 'shop'"
                f" and table_name = '{table}' order by ordinal_position"
            )
            names = ", ".join(f'"{name}" text' for (name,) in columns)
            statements.append(f"create table piped.{table} ({names})")
        self.postgres.execute("; ".join(statements), "warehouse")

    def forget(self) -> None:
        """No warehouse yet."""
        self.postgres.execute("drop schema if exists raw_classicmodels cascade", "warehouse")
        self.postgres.execute("drop schema if exists dlt_raw cascade", "warehouse")
        for path in (self.duckdb, self.folder / "dlt.duckdb"):
            path.unlink(missing_ok=True)

    def change(self) -> None:
        """One line in ten thousand gets another price, all over the table."""
        self.mariadb.execute(
            "update orderdetails set priceEach = priceEach + 0.01"
            " where mod(crc32(concat(orderNumber, productCode)), 10000) = 0",
            "shop",
        )

    def grow(self) -> None:
        """One percent more orders with their lines, behind the others."""
        self.mariadb.execute(
            "set @last = (select max(orderNumber) from orders);"
            " set @first = (select min(orderNumber) from orders);"
            " set @some = @first + (@last - @first) div 100;"
            "insert into orders select orderNumber - @first + @last + 1, orderDate, requiredDate,"
            " shippedDate, status, comments, customerNumber from orders where orderNumber < @some;"
            "insert into orderdetails select orderNumber - @first + @last + 1, productCode,"
            " quantityOrdered, priceEach, orderLineNumber from orderdetails"
            " where orderNumber < @some",
            "shop",
        )

    def _client(self) -> str:
        password = shlex.quote(f"-p{self.mariadb.password}")
        return (
            f"mariadb --no-defaults -h 127.0.0.1 -P {self.mariadb.port} -u {self.mariadb.user}"
            f" {password} --quick --batch --skip-column-names shop"
        )


def main() -> None:
    """Build the shop, measure everything, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="measure dlt too")
    options = parser.parse_args()
    with (
        MariaDBServer() as mariadb,
        PostgresServer() as postgres,
        tempfile.TemporaryDirectory() as folder,
    ):
        create_shop(mariadb.create_database("shop"), scale=options.scale)
        postgres.create_database("warehouse")
        bench = Bench(Path(folder), mariadb, postgres, options.runs)
        print(f"scale {options.scale:,}, medians of {options.runs} runs; ratio to the bare pipe")
        print(f"{'':44}{'wall s':>8}{'cpu s':>8}{'peak MB':>9}{'sent MB':>9}{'ratio':>8}")
        bench.report("bare pipe: mariadb | psql", bench.pipe(), bench.empty_pipe)
        bench.report("bare SELECT", bench.select())
        for target in ("postgres", "duckdb"):
            bench.report(f"load.py to {target}: first load", bench.load(target), bench.forget)
            bench.report(f"load.py to {target}: no change", bench.load(target))
            bench.report(f"load.py to {target}: 0.01 % changed", bench.load(target), bench.change)
            bench.report(f"load.py to {target}: 1 % appended", bench.load(target), bench.grow)
        seven = bench.load("duckdb", "--select", "offices")
        bench.report("load.py to duckdb: a table of seven rows", seven, bench.forget)
        if options.peers:
            python = _environment(options.peers.resolve() / "dlt", DLT_REQUIREMENTS)
            for target in ("postgres", "duckdb"):
                bench.report(f"dlt to {target}", bench.dlt(python, target), bench.forget)


def _environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The Python of an environment with a peer in it, made when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True)
    return python


if __name__ == "__main__":
    main()
