"""`make build` as a newcomer runs it: in a fresh copy of the project, from the outside."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from loader.urls import parse_url
from pipeline.shop import place_of
from support.clone import REPO, copy_project
from support.commands import (
    DEAD_PORT,
    Run,
    assert_one_sentence,
    environment,
    fault_in_an_old_row,
    first_build,
    red_build,
    run,
    script,
    small_build,
)
from tools.servers import PostgresServer, free_port


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def held(path: Path) -> list[object]:
    """What a warehouse holds, but for the record of runs, which gets those that fail too."""
    if not path.exists():
        return []
    with duckdb.connect(str(path), read_only=True) as file:
        tables = file.execute(
            "select format('{}.{}', schema_name, table_name) from duckdb_tables()"
            " where not starts_with(table_name, '_run') order by 1"
        ).fetchall()
        return [
            (table, file.execute(f"select count(*), sum(hash(t)) from {table} as t").fetchall())
            for (table,) in tables
        ]


@dataclass(frozen=True)
class Built:
    """A project after its first `make build`, and what that printed."""

    project: Path
    first: Run

    @property
    def warehouse(self) -> Path:
        return self.project / "warehouse.duckdb"


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """`make build | head` closes the pipe while more is to come."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(REPO / "scripts" / "build.py"), "--prepare"]
    ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert ran.returncode == 1
    assert ran.stderr == "make build: interrupted, because nobody reads what it prints\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    made, first = first_build()
    project = tmp_path_factory.mktemp("clone") / "a project"
    shutil.copytree(made, project, ignore=shutil.ignore_patterns(".git"))
    return Built(project, first)


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Path:
    """The built project once more, to break things in."""
    return Path(shutil.copytree(built.project, tmp_path / "copy"))


@dataclass(frozen=True)
class Later:
    """A copy of the built project after another build, in which several things were otherwise."""

    project: Path
    build: Run
    lines: int  # of the order that changed


@pytest.fixture(scope="module")
def later(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Later:
    """An order and a product have changed, and the pages cannot be written."""
    copy = Path(shutil.copytree(built.project, tmp_path_factory.mktemp("later") / "copy"))
    with sqlite3.connect(copy / "shop.sqlite") as shop:
        number, lines = shop.execute(
            "select orderNumber, count(*) from orderdetails group by 1 order by 1 limit 1"
        ).fetchone()
        shop.execute(f"update orders set comments = 'Late.' where orderNumber = {number}")
        codes = shop.execute("select productCode from products order by 1").fetchone()
        shop.execute("update products set MSRP = MSRP + 1 where productCode = ?", codes)
    shutil.rmtree(copy / "target" / "site")
    (copy / "target" / "site").write_text("a file where the folder should be")
    done = script(copy, "build")
    assert done.status == 0, done.out + done.err
    return Later(copy, done, lines)


# -- the first build, and after it ----------------------------------------------------------------


def test_first_build_is_green_and_ends_with_a_summary(built: Built) -> None:
    first = built.first
    assert first.status == 0, first.out + first.err
    assert first.err == ""
    assert list(first.steps) == [
        *("start", "packages", "sample shop", "load", "dbt parse", "dbt build"),
        *("freshness", "catalog", "figures", "publish", "report"),
    ]
    passed = re.search(r"(\d+) of (\d+) tests passed$", first.steps["dbt build"])
    assert passed and passed[1] == passed[2] and int(passed[1]) > 50
    assert first.steps["freshness"] == "8 of 8 sources are fresh"
    assert "Warehouse  duckdb: warehouse.duckdb" in first.out
    assert re.search(r"^Green after [0-9.]+ s\.$", first.out, re.MULTILINE)


def test_summary_says_what_the_warehouse_holds(built: Built) -> None:
    with duckdb.connect(str(built.warehouse), read_only=True) as warehouse:
        marts = warehouse.execute(
            "select table_name from duckdb_tables() where schema_name = 'marts'"
        ).fetchall()
        assert len(marts) >= 9
        for (mart,) in marts:
            counted = warehouse.execute(f"select count(*) from marts.{mart}").fetchone()
            assert (built.first.rows(mart),) == counted
        revenue = warehouse.execute(
            "select sum(d.quantityordered * d.priceeach)"
            " from raw_classicmodels.orderdetails d"
            " inner join raw_classicmodels.orders o on o.ordernumber = d.ordernumber"
            " where o.status <> 'Cancelled'"
        ).fetchone()
    totals = re.findall(r"\btotal +([0-9,.]+)$", built.first.figures, re.MULTILINE)
    assert len(totals) == 2, "by product line and by territory"
    assert {(Decimal(total.replace(",", "")),) for total in totals} == {revenue}


def test_catalog_is_one_file_that_describes_the_marts(built: Built) -> None:
    page = (built.project / "target" / "site" / "docs.html").read_text("utf-8")
    assert "fact_orders" in page
    # It opens offline: nothing in it is fetched from elsewhere.
    assert not re.findall(r"<script[^>]+src=|<link[^>]+stylesheet|@import|url\([\"']?http", page)
    catalog = json.loads((built.project / "target" / "catalog.json").read_text("utf-8"))
    columns = catalog["nodes"]["model.classicmodels.fact_orders"]["columns"]
    assert columns["order_amount"]["type"] == "DECIMAL(12,2)"


def test_build_writes_the_report_and_make_report_does_it_again(built: Built, copy: Path) -> None:
    place = Path("target", "site", "report.html")
    said = r"target/site/report\.html, [0-9]+ kB"
    assert re.fullmatch(said, built.first.steps["report"])
    first = (built.project / place).read_text("utf-8")
    assert "Sales: last 30 days" in first
    shutil.rmtree(copy / "target")
    again = run(copy, "make", "report")
    assert (again.status, again.err) == (0, ""), again
    assert re.fullmatch(said, again.out.strip())

    def without_moment(page: str) -> str:
        return re.sub(r"\d+ \w+ \d+, \d\d:\d\d UTC", "", page)

    assert without_moment((copy / place).read_text("utf-8")) == without_moment(first)


@pytest.mark.long
def test_pages_that_cannot_be_written_do_not_lose_the_build(later: Later) -> None:
    for step in ("catalog", "report"):
        assert later.build.steps[step].startswith("WARNING: not written: ")
    assert "WARNING: the start page is not written: " in later.build.out
    assert "Green after" in later.build.out
    again = script(later.project, "report")
    assert_one_sentence(again, "target/site/report.html", "cannot be written")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"DUCKDB_PATH": "none.duckdb"}, ["none.duckdb", "make build"]),
        ({"DUCKDB_PATH": "empty.duckdb"}, ["empty.duckdb", "make build"]),
        ({"DUCKDB_PATH": "README.md"}, ["README.md", "make build"]),
        (
            {"TARGET": "postgres", "PGHOST": "127.0.0.1", "PGPORT": str(DEAD_PORT)},
            [f"127.0.0.1:{DEAD_PORT}"],
        ),
        ({"TARGET": "oracle"}, ["TARGET=oracle", "duckdb", "postgres"]),
    ],
    ids=["no warehouse", "no marts", "no database", "no server", "no such target"],
)
def test_report_without_a_build_is_an_error(
    variables: dict[str, str], words: list[str], copy: Path
) -> None:
    duckdb.connect(str(copy / "empty.duckdb")).close()
    assert_one_sentence(script(copy, "report", **variables), *words)


def test_build_leaves_nothing_that_git_would_show(copy: Path) -> None:
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")
    assert run(copy, *git, "init", "-q").status == 0
    shown = run(copy, *git, "status", "--porcelain", "--ignored", "-uall")
    made = {line[3:].strip('"').partition("/")[0] for line in shown.out.splitlines()}
    ours = {name for name in made if run(copy, *git, "check-ignore", "-q", name).status == 0}
    assert {"warehouse.duckdb", "shop.sqlite", "profiles.yml", "target", "logs"} <= ours
    assert not [name for name in made - ours if name.endswith((".tmp", ".wal", ".loading"))]
    fresh = {path.name for path in copy_project(copy.parent / "fresh").iterdir()}
    assert {path.name for path in copy.iterdir()} - fresh - ours == {".git"}


def test_second_build_makes_nothing_again(built: Built) -> None:
    shop, profile = built.project / "shop.sqlite", built.project / "profiles.yml"
    before = (digest(shop), profile.stat().st_mtime_ns)
    second = run(built.project, "make", "build")
    assert second.status == 0, second.out + second.err
    assert (digest(shop), profile.stat().st_mtime_ns) == before
    assert not {"sample shop", "dbt parse", "dbt build", "report"} & second.steps.keys()
    assert "(0 new, 0 changed, 0 gone)" in second.steps["load"]
    assert re.search(r"^Nothing has changed .* since the green build of 20\d\d-", second.out, re.M)
    assert "Green after" in second.out and "Installing" not in second.out
    page = (built.project / "target" / "site" / "index.html").read_text("utf-8")
    assert re.search("<dt>Checked</dt><dd>20.* UTC: nothing had changed since</dd>", page)
    # Without a load nothing is written, so that not even the file is copied.
    loaded = script(built.project, "build", "--loaded")
    assert loaded.status == 0, loaded.out + loaded.err
    assert "copy" in second.steps and not {"copy", "publish"} & loaded.steps.keys()
    assert re.search(r"^Nothing has changed ", loaded.out, re.M)


@pytest.mark.long
def test_build_of_what_changed_leaves_nothing_for_a_build_of_everything(copy: Path) -> None:
    """Rows of several tables have changed, which a load by hand has found, and the day has."""
    environ = {"AS_OF_DATE": "2026-11-21"}
    with sqlite3.connect(copy / "shop.sqlite") as shop:
        shop.execute(
            "update orderdetails set quantityOrdered = quantityOrdered + 1 where orderNumber ="
            " (select max(orderNumber) from orders) and orderLineNumber = 1"
        )
        shop.execute("update customers set country = 'Spain' where customerNumber % 9 = 0")
    load = script(copy, "load", "--source", "sqlite:///shop.sqlite")  # by hand, before the build
    assert load.status == 0, load.err
    done = script(copy, "build", **environ)
    assert done.status == 0, done.out + done.err
    assert "(0 new, 0 changed, 0 gone)" in done.steps["load"]
    assert "catalog" not in done.steps
    ran = re.search(r"(\d+) of (\d+) models and snapshots and (\d+) of (\d+) tests hang", done.out)
    assert ran and int(ran[1]) < int(ran[2]) and int(ran[3]) < int(ran[4])
    assert re.search(r"[1-9][\d,]* rows of the marts were changed", done.out)
    again = script(copy, "build", BUILD="all", **environ)
    assert again.status == 0, again.out + again.err
    assert "nothing has changed: no row of any mart was written" in again.out
    assert "everything was built: BUILD or TESTS asks for it" in again.out
    assert again.figures == done.figures


def test_build_says_how_much_of_the_marts_it_wrote(later: Later) -> None:
    # The lines of the order; the product's version that ended, the one that began, and what the
    # product has sold, which shows its MSRP.
    written = f"{later.lines + 3} rows of the marts were changed, new or gone"
    assert written in later.build.out


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project of the star alone, with few tests, built: most goes the same way in it."""
    return Path(shutil.copytree(small_build()[0], tmp_path / "small"))


@pytest.mark.long
def test_build_says_which_marts_it_rebuilt(small: Path) -> None:
    with duckdb.connect(str(small / "warehouse.duckdb")) as warehouse:
        warehouse.execute("alter table marts.dim_offices drop column phone")
    done = script(small, "build")
    assert done.status == 0, done.out + done.err
    said = "dim_offices was rebuilt because its columns changed: new column phone"
    assert said in done.out and done.out.count("was rebuilt") == 1
    assert said.partition(" was ")[2] in (small / "logs" / "dbt.log").read_text("utf-8")


def count_passed(done: Run) -> int:
    found = re.search(r"(\d+) of \1 tests passed", done.out)
    assert found, done.out
    return int(found[1])


@pytest.mark.long
def test_tests_of_a_large_shop_look_at_new_rows_only(small: Path) -> None:
    again = script(small, "build", TESTS="new", BUILD="all")
    assert again.status == 0, again.out + again.err
    assert "tests of large tables: of rows loaded after 2" in again.out
    assert "without unit tests" in again.out
    assert 50 < count_passed(again) < count_passed(small_build()[1])
    fault_in_an_old_row(small)
    assert script(small, "build", TESTS="new").status == 0
    for everything in (("make", "build", "BUILD=all"), ("dbt", "build")):
        done = run(small, *everything)
        assert done.status != 0 and "fact_orders_line_numbers_are_unique" in done.out, everything


@pytest.mark.long
def test_new_rows_are_always_tested(small: Path) -> None:
    with sqlite3.connect(small / "shop.sqlite") as shop:
        shop.execute("update orderdetails set quantityOrdered = -1 where orderNumber % 100 = 0")
    for _ in range(2):  # a fault that stays is found again
        done = script(small, "build", TESTS="new")
        assert done.status != 0
        assert "FAILED  test order_quantities_are_positive" in done.out


@pytest.mark.long
def test_old_rows_whose_parent_is_gone_are_found(small: Path) -> None:
    with sqlite3.connect(small / "shop.sqlite") as shop:
        shop.execute(
            "delete from products where productCode = (select min(productCode) from orderdetails)"
        )
    done = script(small, "build", TESTS="new")
    assert done.status != 0
    assert "FAILED  test order_lines_have_a_known_product" in done.out


@pytest.mark.long
@pytest.mark.parametrize(
    "reason",
    ["other code", "a failure", "dbt alone"],
)
def test_all_rows_are_tested_after(reason: str, small: Path) -> None:
    if reason == "other code":
        model = small / "models" / "marts" / "core" / "dim_offices.sql"
        model.write_text(model.read_text("utf-8") + "-- the same offices\n", "utf-8")
    elif reason == "a failure":
        for status, is_green in (("Lost", False), ("Shipped", True)):
            with sqlite3.connect(small / "shop.sqlite") as shop:
                shop.execute(
                    f"update orders set status = '{status}' where orderNumber ="
                    " (select max(orderNumber) from orders)"
                )
            if not is_green:  # `make build` would leave the warehouse as it was
                assert script(small, "load", "--source", "sqlite:///shop.sqlite").status == 0
                assert run(small, "dbt", "build").status != 0
    else:
        assert run(small, "dbt", "run", "-s", "dim_offices").status == 0
    fault_in_an_old_row(small)
    done = script(small, "build", TESTS="new")
    assert done.status != 0
    assert "FAILED  test fact_orders_line_numbers_are_unique" in done.out


@pytest.mark.long
def test_plain_dbt_works_after_it_without_flags(small: Path) -> None:
    for command in ("build", "test -s fact_orders", "source freshness", "docs generate"):
        done = run(small, "dbt", *command.split())
        assert done.status == 0, done.out
        if command == "test -s fact_orders":
            ran = re.search(r"Done\. PASS=(\d+) WARN=0 ERROR=0", done.out)
            assert ran and int(ran[1]) > 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "page"),
    [
        ("make docs PORT={port}", "docs.html"),
        ("dbt docs serve --no-browser --port {port}", "catalog.json"),
    ],
)
def test_catalog_is_served_on_localhost(command: str, page: str, copy: Path) -> None:
    port = free_port()
    server = subprocess.Popen(
        command.format(port=port).split(),
        cwd=copy,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120  # what draws is imported, and perhaps installed
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}") as answer:
                    assert b"fact_orders" in answer.read()
                    return
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def test_port_that_is_taken_is_an_error(built: Built) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert_one_sentence(run(built.project, "make", "docs", f"PORT={port}"), str(port), "PORT=")


def test_make_help_names_every_target() -> None:
    repo = REPO
    for command in (("make",), ("make", "help")):
        shown = run(repo, *command)
        assert shown.status == 0
        for target in ("build", "report", "test", "docs", "lint", "clean", "help"):
            assert re.search(rf"^  make {target} +\S", shown.out, re.MULTILINE)


def test_clean_removes_what_was_made_and_keeps_what_a_person_wrote(copy: Path) -> None:
    assert run(copy, "make", "clean").status == 0
    fresh = {path.name for path in copy_project(copy.parent / "fresh").iterdir()}
    assert {path.name for path in copy.iterdir()} == fresh
    assert_one_sentence(run(copy, "make", "docs"), "make build")
    (copy / "profiles.yml").write_text("classicmodels: {}\n", "utf-8")
    assert run(copy, "make", "clean").status == 0
    assert (copy / "profiles.yml").exists()


# -- other places ---------------------------------------------------------------------------------


@pytest.mark.long
def test_duckdb_path_moves_the_warehouse(copy: Path, tmp_path: Path) -> None:
    # A space in both: DuckDB calls its database after the file.
    place = tmp_path / "some where" / "my shop.duckdb"
    place.parent.mkdir()
    before = held(copy / "warehouse.duckdb")
    pages = {path.name: digest(path) for path in (copy / "target" / "site").iterdir()}
    # A build of another warehouse at the same time must not take this for its own.
    (copy / "target" / "catalog.json").write_text("of another build", "utf-8")
    moved = run(copy, "make", "build", f"DUCKDB_PATH={place}")
    assert moved.status == 0, moved.out + moved.err
    assert str(place) in moved.out
    assert held(copy / "warehouse.duckdb") == before
    # It has pages of its own, which name it.
    assert {name: digest(copy / "target" / "site" / name) for name in pages} == pages
    opened = re.search(r"^Open +(target/my-shop-duckdb-\w+/site)/index.html$", moved.out, re.M)
    assert opened and {path.name for path in (copy / opened[1]).iterdir()} == pages.keys()
    for name in ("index.html", "report.html"):
        assert f"duckdb: {place}" in (copy / opened[1] / name).read_text("utf-8")
    assert (copy / "target" / "catalog.json").read_text("utf-8") == "of another build"
    catalog = (copy / opened[1]).with_name("built") / "catalog.json"
    assert "my shop" in catalog.read_text("utf-8")
    failed = script(copy, "build", DUCKDB_PATH=str(place), SOURCE="sqlite:///none.sqlite")
    assert_one_sentence(failed, f"The warehouse duckdb: {place} holds the load of")
    assert {name: digest(copy / "target" / "site" / name) for name in pages} == pages
    with duckdb.connect(str(place), read_only=True) as warehouse:
        counted = warehouse.execute("select count(*) from marts.fact_orders").fetchone()
    assert counted == (moved.rows("fact_orders"),)


@pytest.mark.long
def test_postgres_builds_the_same_marts(built: Built, copy: Path, postgres: PostgresServer) -> None:
    postgres.create_database("newcomer")
    there = {"TARGET": "postgres", **postgres.environment("newcomer")}
    done = run(copy, "make", "build", **there)
    assert done.status == 0, done.out + done.err
    assert done.figures == built.first.figures
    assert f"Warehouse  postgres: 127.0.0.1:{postgres.port}/newcomer" in done.out
    assert "TARGET=postgres dbt show" in done.out
    assert postgres.password not in done.out
    counted = postgres.execute("select count(*) from marts.fact_orders", "newcomer")
    assert counted == [(done.rows("fact_orders"),)]


@pytest.mark.long
def test_profile_of_the_user_decides_where_dbt_and_the_loader_write(
    copy: Path, tmp_path: Path
) -> None:
    (copy / "profiles.yml").unlink()
    home, place = tmp_path / "home", tmp_path / "mine.duckdb"
    (home / ".dbt").mkdir(parents=True)
    (home / ".dbt" / "profiles.yml").write_text(
        "classicmodels:\n  target: mine\n  outputs:\n"
        f"    mine: {{type: duckdb, path: '{place}', schema: me, threads: 2}}\n",
        "utf-8",
    )
    done = run(copy, "make", "build", HOME=str(home))
    assert done.status == 0, done.out + done.err
    assert not (copy / "profiles.yml").exists()
    assert f"Warehouse  mine: {place}" in done.out
    assert re.search(r"report.html, [0-9]+ kB$", done.steps["report"])  # of me_marts
    with duckdb.connect(str(place), read_only=True) as warehouse:
        schemas = {
            name
            for (name,) in warehouse.execute(
                "select distinct schema_name from duckdb_tables()"
            ).fetchall()
        }
    assert {"raw_classicmodels", "me_marts"} <= schemas
    assert "marts" not in schemas


@pytest.mark.long
def test_what_a_team_keeps_is_used(small: Path) -> None:
    shutil.copyfile(small / "shop.sqlite", small / "real.sqlite")
    (small / "shop.sqlite").unlink()
    team = small / "loader.yml"
    team.write_text("source: sqlite:///real.sqlite\nhash_columns: [customers.phone]\n", "utf-8")
    given = {"DUCKDB_PATH": "real.duckdb", "LOAD_HASH_SALT": "pepper"}
    done = script(small, "build", **given)
    assert done.status == 0, done.out + done.err
    assert done.steps["load"].startswith("sqlite:///real.sqlite: ")
    assert not (small / "shop.sqlite").exists()
    with duckdb.connect(str(small / "real.duckdb"), read_only=True) as warehouse:
        phones = "select count(*) from raw_classicmodels.customers where length(phone) <> 64"
        assert warehouse.execute(phones).fetchall() == [(0,)]
    # SOURCE goes before the file, and the warehouse stays that of one shop.
    before = held(small / "real.duckdb")
    shutil.copyfile(small / "real.sqlite", small / "other.sqlite")
    other = script(small, "build", SOURCE="sqlite:///other.sqlite", **given)
    assert_one_sentence(other, "holds another shop, sqlite:///real.sqlite", "other.sqlite")
    # Without the file it would be the sample.
    sample = script(small, "build", LOAD_CONFIG="", **given)
    assert_one_sentence(sample, "holds another shop, sqlite:///real.sqlite", "give SOURCE again")
    assert held(small / "real.duckdb") == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sorce: x", ["loader.yml", "unknown key sorce"]),
        ("hash_columns: [customers.phnoe]", ["customers.phnoe"]),
        ("raw_schema: elsewhere", ["raw_schema: elsewhere", "raw_classicmodels"]),
        ("target: postgres", [f"127.0.0.1:{DEAD_PORT}"]),
    ],
)
def test_mistake_in_what_a_team_keeps_is_one_sentence(
    text: str, words: list[str], copy: Path
) -> None:
    before = held(copy / "warehouse.duckdb")
    (copy / "loader.yml").write_text(f"source: sqlite:///shop.sqlite\n{text}\n", "utf-8")
    server = {"PGHOST": "127.0.0.1", "PGPORT": str(DEAD_PORT), "LOAD_HASH_SALT": "pepper"}
    assert_one_sentence(script(copy, "build", **server), *words)
    assert held(copy / "warehouse.duckdb") == before


def test_team_file_that_is_gone_is_one_sentence(copy: Path) -> None:
    assert_one_sentence(script(copy, "build", LOAD_CONFIG="gone.yml"), "gone.yml")


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SOURCE": "oracle://u:s3cret@localhost/x"}, ["oracle", "mysql://"]),
        (
            {
                "SOURCE": f"mysql://u:s3cret@127.0.0.1:{DEAD_PORT}/x",
                "DUCKDB_PATH": "unreached.duckdb",
            },
            [f"127.0.0.1:{DEAD_PORT}", "cannot be reached"],
        ),
        (
            {"SOURCE": "sqlite:///nowhere/shop.sqlite", "DUCKDB_PATH": "unreached.duckdb"},
            ["no SQLite file nowhere/shop.sqlite"],
        ),
        ({"TARGET": "oracle"}, ["TARGET=oracle", "duckdb", "postgres"]),
        ({"TESTS": "none"}, ["TESTS", "all", "new", "none"]),
        ({"BUILD": "some"}, ["BUILD", "all", "some"]),
        ({"TARGET": "redshift"}, ["REDSHIFT_HOST is not set", "REDSHIFT_PASSWORD is not set"]),
        (
            {"TARGET": "postgres", "PGHOST": "127.0.0.1", "PGPORT": str(DEAD_PORT)},
            [f"127.0.0.1:{DEAD_PORT}"],
        ),
        ({"DUCKDB_PATH": "no/such/folder/w.duckdb"}, ["no/such/folder", "DUCKDB_PATH"]),
        ({"DUCKDB_PATH": "Main.duckdb"}, ["Main.duckdb", "DUCKDB_PATH"]),
        ({"DUCKDB_PATH": "Marts.duckdb"}, ["Marts.duckdb", "schemas", "DUCKDB_PATH"]),
        ({"DUCKDB_PATH": "raw_classicmodels.db"}, ["raw_classicmodels.db", "schemas"]),
        ({"DUCKDB_PATH": "shop's.duckdb"}, ["shop's.duckdb", "DUCKDB_PATH"]),
        ({"DUCKDB_PATH": ":memory:"}, [":memory:", "DUCKDB_PATH"]),
        ({"DUCKDB_PATH": "README.duckdb"}, ["README.duckdb", "not a DuckDB database"]),
        ({"DBT_PROFILES_DIR": "other"}, ["other/profiles.yml", "profiles.example.yml"]),
    ],
    ids=lambda value: next(iter(value.items()))[0] if isinstance(value, Mapping) else "",
)
def test_error_is_one_sentence_and_the_warehouse_stays(
    variables: dict[str, str], words: list[str], built: Built
) -> None:
    (built.project / "README.duckdb").write_text("not a database")
    before = held(built.warehouse)
    done = script(built.project, "build", **variables)
    assert_one_sentence(done, *words)
    assert "s3cret" not in done.out + done.err
    assert held(built.warehouse) == before


def test_profile_of_the_folder_without_this_project_is_an_error(copy: Path) -> None:
    (copy / "profiles.yml").write_text("another_project: {}\n", "utf-8")
    done = script(copy, "build")
    assert_one_sentence(done, "profiles.yml", "classicmodels", "profiles.example.yml")


def test_one_shop_does_not_replace_another(copy: Path) -> None:
    for name in ("real", "third"):
        shutil.copyfile(copy / "shop.sqlite", copy / f"{name}.sqlite")
    before = held(copy / "warehouse.duckdb")
    # A shop over the sample. The password comes from outside the URL, and stays there.
    server = f"mysql://u@127.0.0.1:{DEAD_PORT}/x"
    refused = script(copy, "build", SOURCE=server, SOURCE_PASSWORD="s3cret")
    # It is rather mistyped than another shop.
    assert_one_sentence(refused, f"127.0.0.1:{DEAD_PORT} cannot be reached")
    assert "s3cret" not in refused.out + refused.err and "ALLOW" not in refused.err
    refused = script(copy, "build", SOURCE="sqlite:///real.sqlite")
    holds = "warehouse.duckdb holds another shop, sqlite:///shop.sqlite"
    assert_one_sentence(refused, holds, "real.sqlite", "DUCKDB_PATH", "make clean")
    assert held(copy / "warehouse.duckdb") == before
    # The sample over a shop, and a second shop over it.
    assert script(copy, "load", "--source", "sqlite:///real.sqlite").status == 0
    before = held(copy / "warehouse.duckdb")
    real = "holds another shop, sqlite:///real.sqlite"
    assert_one_sentence(script(copy, "build"), real, "give SOURCE again")
    mistyped = script(copy, "build", SOURCE="sqlite:///fourth.sqlite")
    assert_one_sentence(mistyped, "no SQLite file fourth.sqlite")
    assert "ALLOW_OTHER_SOURCE" not in mistyped.err
    other = script(copy, "build", SOURCE="sqlite:///third.sqlite")
    assert_one_sentence(other, real, "third.sqlite", "ALLOW_OTHER_SOURCE=1")
    assert held(copy / "warehouse.duckdb") == before


@pytest.mark.long
def test_shop_that_has_moved_is_built_when_a_person_says_so(small: Path) -> None:
    shutil.copyfile(small / "shop.sqlite", small / "real.sqlite")
    moved = script(small, "build", SOURCE="sqlite:///real.sqlite", ALLOW_OTHER_SOURCE="1")
    assert moved.status == 0, moved.out + moved.err
    real = "holds another shop, sqlite:///real.sqlite"
    assert_one_sentence(script(small, "build"), real, "give SOURCE again")


@pytest.mark.parametrize(
    ("before", "now", "is_same"),
    [
        ("mysql://a:***@h/shop", "mariadb://b:secret@h:3306/shop?tls=on", True),
        ("postgres://127.0.0.1/shop", "postgresql://a@localhost:5432/shop", True),
        ("file:///dumps", f"file:///{Path('dumps').resolve()}", True),
        ("mysql://h/shop", "mysql://h:3307/shop", False),
        ("mysql://h/shop", "mysql://h/other", False),
        ("mysql://h/shop", "mysql://g/shop", False),
        ("mysql://h/shop", "postgresql://h/shop", False),
        ("sqlite:///shop", "file:///shop", False),
    ],
)
def test_two_urls_of_one_shop(before: str, now: str, is_same: bool) -> None:
    assert (place_of(parse_url(before)) == place_of(parse_url(now))) is is_same


@pytest.mark.long  # it waits; test_working_copy.py has the sentence
def test_warehouse_that_another_program_holds_is_an_error(copy: Path) -> None:
    hold = (
        "import duckdb, sys; warehouse = duckdb.connect('warehouse.duckdb');"
        " print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=copy, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout and holder.stdout.readline()
        done = script(copy, "build")
        holder.communicate()
    assert_one_sentence(done, "warehouse.duckdb", str(holder.pid))


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A project after a build in which tests and a model failed, and what that printed."""
    made, done = red_build()
    folder = tmp_path_factory.mktemp("red") / "a project"
    return Built(Path(shutil.copytree(made, folder, symlinks=True)), done)


def test_failing_test_is_named_and_fails_the_build(red: Built) -> None:
    done = red.first
    named = re.findall(r"^FAILED  test (\w+): \d+ rows? \((\S+)\)$", done.out, re.MULTILINE)
    assert any("status" in name for name, _ in named), done.out
    name = named[0][0]
    file = "warehouse.duckdb.failed/warehouse.duckdb"
    assert f"rows:  DUCKDB_PATH={file} dbt test -s {name} --store-failures" in done.out
    query = re.search(r"^    query: (\S+)$", done.out, re.MULTILINE)
    assert query and (red.project / query[1]).is_file()
    assert f"DUCKDB_PATH={file} dbt retry" in done.out
    assert "Warehouse  duckdb: warehouse.duckdb, as it was before this build" in done.out
    before = held(first_build()[0] / "warehouse.duckdb")
    assert held(red.project / "warehouse.duckdb") == before
    # A warning comes with its rows and their money, here and on the start page.
    page = (red.project / "target" / "site" / "index.html").read_text("utf-8")
    with sqlite3.connect(red.project / "shop.sqlite") as shop:
        cancelled = "select orderNumber from orders where status = 'Cancelled' and shippedDate > ''"
        ((shipped,),) = shop.execute(cancelled).fetchall()
    for text in (done.out, page):
        assert re.search(
            r"WARNING  test cancelled_orders_were_not_shipped: 1 row, [\d,.]+ USD", text
        )
        assert f"order_number {shipped}, customer_number " in text
    # The advice works: the rows can be looked at.
    retried = run(red.project, "dbt", "test", "-s", name, "--store-failures", DUCKDB_PATH=file)
    assert retried.status == 1 and "test_failures" in retried.out


def test_model_that_does_not_run_is_named_and_the_rest_is_reported(red: Built) -> None:
    standing = re.compile("(?<=<!--standing-->).*(?=<!--/standing-->)")
    place = Path("target", "site", "report.html")
    done = red.first
    failed = "FAILED  model dim_products_current (models/marts/core/dim_products_current.sql)"
    assert failed in done.out
    assert "no_such_column" in done.out
    assert "earlier build" in done.figures
    assert re.search(r"\d+ skipped", done.steps["dbt build"])
    file = "warehouse.duckdb.failed/warehouse.duckdb"
    assert f"again: DUCKDB_PATH={file} dbt build -s dim_products_current" in done.out
    # Its figures would be those of an earlier build.
    assert done.steps["report"].startswith("not written: the build failed")
    page = (red.project / place).read_text("utf-8")
    notice = standing.search(page)
    assert notice and "This page is not the newest: builds fail since" in notice[0]
    report = (first_build()[0] / place).read_text("utf-8")
    assert standing.sub("", page) == standing.sub("", report)


def versions_of(project: Path, dimension: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as warehouse:
        sql = f"select * from marts.{dimension} order by all"
        rows: list[tuple[object, ...]] = warehouse.execute(sql).fetchall()
    return rows


def test_shop_that_lost_what_the_models_read(copy: Path) -> None:
    """Nothing is published; the pages say since when and why, and which table is not fresh."""
    before = versions_of(copy, "dim_customers")
    with sqlite3.connect(copy / "shop.sqlite") as shop:
        shop.execute("alter table customers drop column creditLimit")
        shop.execute("alter table payments rename to payments_old")
    done = script(copy, "build")
    assert_one_sentence(
        done, "customers.creditlimit", "dim_customers", "payments, which the source has renamed to",
        "The warehouse duckdb: warehouse.duckdb holds the load of 20",
    )  # fmt: skip
    assert versions_of(copy, "dim_customers") == before
    start = (copy / "target" / "site" / "index.html").read_text("utf-8")
    report = (copy / "target" / "site" / "report.html").read_text("utf-8")
    for page in (start, report):
        assert re.search(r"[Bb]uilds fail since 20\d\d-", page) and "customers.creditlimit" in page
    assert re.search("payments</th>.*; the shop no longer has it</td>.*failed", start)
    assert "sqlite:///shop.sqlite" in report and "duckdb: warehouse.duckdb" in report


@pytest.mark.long
def test_table_that_is_gone_is_not_fresh(small: Path) -> None:
    """Also where the loader alone has seen it, and dbt alone is asked."""
    with sqlite3.connect(small / "shop.sqlite") as shop:
        shop.execute("drop table payments")
    source = ("--source", "sqlite:///shop.sqlite")
    for required in ((), ("--require", "models/")):
        assert script(small, "load", *source, *required).status == len(required) / 2
        fresh = run(small, "dbt", "source", "freshness", "-s", "source:classicmodels")
        assert re.findall(r"ERROR STALE freshness of (\S+)", fresh.out) == [
            "classicmodels.payments"
        ]


@pytest.mark.long
def test_make_takes_a_load_back(small: Path) -> None:
    """First a list, then a count, then the history and the marts are as they were."""
    before = versions_of(small, "dim_products")
    for factor in (100, 0.01):
        with sqlite3.connect(small / "shop.sqlite") as shop:
            shop.execute(f"update products set MSRP = round(MSRP * {factor}, 2)")
        assert script(small, "build").status == 0
        wrong = script(small, "undo_load").out.splitlines()[1].partition(" ")[0]
    assert len(versions_of(small, "dim_products")) > 2 * len(before)
    counted = run(small, "make", "undo-load", f"LOAD={wrong}")
    assert "110 versions would be removed, 110 before them reopened, 110 later" in counted.out
    assert "Nothing was changed." in counted.out and "WARNING" not in counted.out
    assert len(versions_of(small, "dim_products")) > 2 * len(before)
    done = run(small, "make", "undo-load", f"LOAD={wrong}", "BECAUSE=prices times a hundred")
    assert done.status == 0, done.out + done.err
    assert versions_of(small, "dim_products") == before
    assert script(small, "build", TESTS="all").status == 0
    assert versions_of(small, "dim_products") == before
    assert_one_sentence(script(small, "undo_load", "none"), "none is not a load that succeeded")


@pytest.mark.long
def test_column_that_is_accepted_as_unknown(small: Path) -> None:
    """It makes no versions, in any dimension, when it goes and when it comes back."""
    with sqlite3.connect(small / "shop.sqlite") as shop:
        limits = shop.execute("select creditLimit, customerNumber from customers").fetchall()
        shop.execute("alter table customers drop column creditLimit")
    accept = "accept: [{column: customers.creditLimit, from: 2026-01-01, because: No credit <b>}]"
    (small / "loader.yml").write_text(accept, "utf-8")
    before = versions_of(small, "dim_customers")
    done = script(small, "build")
    assert done.status == 0, done.out + done.err
    assert "WARNING: the source has changed: customers.creditlimit: column dropped" in done.out
    assert "customers.creditLimit, which is accepted since 2026-01-01 (No credit" in done.out
    assert versions_of(small, "dim_customers") == before
    start = (small / "target" / "site" / "index.html").read_text("utf-8")
    assert "customers.creditLimit since 2026-01-01, accepted because: No credit &lt;b&gt;" in start
    with sqlite3.connect(small / "shop.sqlite") as shop:
        shop.execute("alter table customers add column creditLimit decimal(10,2)")
        shop.executemany("update customers set creditLimit = ? where customerNumber = ?", limits)
    done = script(small, "build")
    assert done.status == 0, done.out + done.err
    assert "remove it from accept" in done.out
    assert versions_of(small, "dim_customers") == before


def test_project_that_does_not_parse_is_an_error_without_a_traceback(copy: Path) -> None:
    model = copy / "models" / "marts" / "core" / "dim_products.sql"
    model.write_text("select * from {{ ref('no_such_model') }}", "utf-8")
    done = script(copy, "build")
    assert done.status != 0
    assert "Traceback" not in done.out + done.err
    assert "no_such_model" in done.err
