"""Measure the loader beside a bare pipe and beside other tools, all in one run.

    python -m tools.benchmark_loader [--scale 1000] [--runs 3] [--peers FOLDER]

It makes a sample shop in a private MariaDB, loads it into a private PostgreSQL and into DuckDB, and
prints for each way: wall and CPU seconds of the client, CPU seconds of both servers, the client's
peak memory, the MB that the source sent, and the ratios of wall time and of all CPU seconds to
those of the bare pipe. It prints the run with the median wall time. Beside other work, only the
ratio of CPU seconds says something.
With `--peers` it also measures the tools of benchmark_peers.py, each in its own environment below
that folder. `--growth` also loads a shop of four times the scale, for the peak memory.
"""

import argparse
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sample_shop.shop import create_shop
from tools.benchmark_peers import Peer, installed_peers, with_user
from tools.measuring import CommandError, Cost, measure
from tools.servers import MariaDBServer, PostgresServer

Command = tuple[list[str], dict[str, str]]
PEER = "peer"
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
# The text formats of the two clients differ for these values, so the bare pipe leaves them out.
SPECIAL = {
    "orders": "select orderNumber, orderDate, requiredDate, shippedDate, status,"
    ' replace(comments, "\\r", " "), customerNumber from orders',
    "productlines": "select productLine, textDescription, htmlDescription, hex(image)"
    " from productlines",
}
SELECTS = [SPECIAL.get(table, f"select * from {table}") for table in TABLES]


@dataclass(frozen=True)
class Figures:
    """One run of a command: its cost, CPU seconds of the servers, the MB that the source sent."""

    cost: Cost
    servers: float
    sent: float

    @property
    def cpu(self) -> float:
        """CPU seconds of all."""
        return self.cost.cpu + self.servers


def _ticks(pid: int | str | None) -> list[int]:
    """What a process used, in user and system mode, and the same of children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [int(field) for field in fields[11:15]]


class Bench:
    """The servers; it measures commands on them and prints the results."""

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
        middle = statistics.median_low([figure.cost.wall for figure in figures])
        result = next(figure for figure in figures if figure.cost.wall == middle)
        self.reference = self.reference or result
        print(
            f"{name:<44}{result.cost.wall:8.2f}{result.cost.cpu:8.2f}{result.servers:9.2f}"
            f"{result.cost.peak:9.0f}{result.sent:9.2f}"
            f"{result.cost.wall / self.reference.cost.wall:8.2f}"
            f"{result.cpu / self.reference.cpu:8.2f}",
            flush=True,
        )
        return result

    def _measure(self, command: Sequence[str], environment: dict[str, str]) -> Figures:
        sent, used = self._sent(), self._used()
        cost = measure(command, environment, self.folder)
        # A session of PostgreSQL counts when it has ended.
        time.sleep(0.1)
        return Figures(cost, self._used() - used, (self._sent() - sent) / 1e6)

    def _used(self) -> float:
        """CPU seconds of both servers, with their children."""
        ticks = 0
        for server in (self.mariadb, self.postgres):
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
            ticks += sum(_ticks(server.pid)) + sum(sum(_ticks(n)[:2]) for n in children.split())
        return ticks / os.sysconf("SC_CLK_TCK")

    def _sent(self) -> int:
        ((_, sent),) = self.mariadb.execute("show global status like 'Bytes_sent'")
        return int(sent)

    # -- the ways ----------------------------------------------------------------------------------

    def select(self) -> Command:
        """The server's own client reads everything and discards it."""
        return ["sh", "-c", f"{self._client()} -e '{'; '.join(SELECTS)}' > /dev/null"], {}

    def pipe(self) -> Command:
        """The servers' own clients, table by table, without types, checks and publishing."""
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
        return [sys.executable, "-m", "loader", *arguments], environment

    def peer(self, peer: Peer, folder: Path, target: str) -> Command:
        """Another tool."""
        user = PEER, PEER
        where = str(self.folder / "tools.duckdb")
        if target == "postgres":
            where = with_user(self.postgres.url("warehouse"), *user)
        command = peer.command(folder, with_user(self.url, *user), target, where, TABLES)
        data = {"PEER_DATA": str(self.folder / "peer"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
        return command, data

    # -- preparations ------------------------------------------------------------------------------

    def empty_pipe(self) -> None:
        """Create tables of text for the pipe to fill."""
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
        """Remove the warehouses."""
        self.postgres.execute("drop schema if exists raw_classicmodels cascade", "warehouse")
        self.postgres.execute("drop schema if exists peer cascade", "warehouse")
        for path in (self.duckdb, self.folder / "tools.duckdb"):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "peer", ignore_errors=True)

    def add_peer_user(self) -> None:
        """Create a user whose password every tool can read from a URL."""
        self.mariadb.execute(
            f"create user {PEER} identified by '{PEER}'; grant select on *.* to {PEER}"
        )
        self.postgres.execute(
            f"create role {PEER} login password '{PEER}'; grant {PEER} to {self.postgres.user};"
            f" grant create on database warehouse to {PEER}"
        )

    def change(self) -> None:
        """Change the price of one line in ten thousand, spread over the table."""
        self.mariadb.execute(
            "update orderdetails set priceEach = priceEach + 0.01"
            " where mod(crc32(concat(orderNumber, productCode)), 10000) = 0",
            "shop",
        )

    def grow(self) -> None:
        """Add one percent more orders with their lines, at the end of the tables."""
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
    """Make the shop, measure everything, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="measure other tools too")
    parser.add_argument("--growth", action="store_true", help="load four times the scale too")
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
        print(
            f"{'':44}{'wall s':>8}{'cpu s':>8}{'servers':>9}{'peak MB':>9}{'sent MB':>9}"
            f"{'ratio':>8}{'cpu':>8}"
        )
        bench.report("bare pipe: mariadb | psql", bench.pipe(), bench.empty_pipe)
        bench.report("bare SELECT", bench.select())
        for target in ("postgres", "duckdb"):
            bench.report(f"loader to {target}: first load", bench.load(target), bench.forget)
            bench.report(f"loader to {target}: no change", bench.load(target))
            bench.report(f"loader to {target}: 0.01 % changed", bench.load(target), bench.change)
            bench.report(f"loader to {target}: 1 % appended", bench.load(target), bench.grow)
        seven = bench.load("duckdb", "--select", "offices")
        bench.report("loader to duckdb: a table of seven rows", seven, bench.forget)
        if options.peers:
            bench.add_peer_user()
            for peer in installed_peers():
                for target in peer.targets:
                    command = bench.peer(peer, options.peers.resolve(), target)
                    try:
                        bench.report(f"{peer.name} to {target}", command, bench.forget)
                    except CommandError as error:
                        print(f"{peer.name} to {target}: {error.said[-1]}")
        if options.growth:
            bench.url = mariadb.create_database("larger_shop")
            create_shop(bench.url, scale=options.scale * 4)
            for target in ("postgres", "duckdb"):
                name = f"loader to {target}: four times the rows"
                bench.report(name, bench.load(target), bench.forget)


if __name__ == "__main__":
    main()
