"""The commands of the documents, run in the order of their page.

A page is played in a copy of the project that was built as README.md says. Where the page shows an
output, that is compared: seconds, ports and names of batches apart, and `...` for what the page
leaves out. A command that is not run here is in one of two lists: `ELSEWHERE` names the test that
runs it, `NOT_RUN` the reason why none does. So a new command is run, or has to be explained.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from sample_shop.shop import create_shop
from support.clone import REPO, copy_project
from support.commands import environment, make_small, small_build
from support.documents import Command, blocks, commands, pages
from support.one_run import own
from tools.servers import MariaDBServer, PostgresServer

AS_OF = date(2026, 11, 20)
BY_PAGE = {page.name: commands(page) for page in pages(REPO)}

# What README.md says to get the figures of the documents; each page begins after it.
BUILD = (
    "python scripts/sample_source.py sqlite:///shop.sqlite --as-of 2026-11-20 --replace",
    "make build AS_OF_DATE=2026-11-20",
)

QUERY = (
    "--metrics revenue,orders,average_order_value,margin_rate,on_time_rate"
    " --group-by location__territory --order -revenue --decimals 2"
)
ELSEWHERE = {
    "make build": "test_build.py::test_first_build_is_green_and_ends_with_a_summary",
    "time make build": "test_build.py::test_second_build_makes_nothing_again",
    "python scripts/build.py": "test_build_faults.py::test_two_builds_at_once",
    "QUIET=1 make build": "test_build_output.py::test_quiet_is_one_line_when_green",
    **dict.fromkeys(
        (
            "make runs",
            "make runs LAST=100",
            "make runs JSON=1",
            "make run ID=20261127T195924350539Z_3101",
        ),
        "test_runs.py::test_make_lists_and_shows",
    ),
    "make report": "test_build.py::test_build_writes_the_report_and_make_report_does_it_again",
    "make docs": "test_build.py::test_catalog_is_served_on_localhost",
    "make docs PORT=8081": "test_build.py::test_catalog_is_served_on_localhost",
    "dbt docs serve": "test_build.py::test_catalog_is_served_on_localhost",
    "dbt build": "test_build.py::test_plain_dbt_works_after_it_without_flags",
    "dbt test -s fact_orders": "test_build.py::test_plain_dbt_works_after_it_without_flags",
    "dbt docs generate": "test_build.py::test_plain_dbt_works_after_it_without_flags",
    "TARGET=postgres make build": "test_build.py::test_postgres_builds_the_same_marts",
    "make build SOURCE=mysql://reader:secret@shop.example/classicmodels AS_OF_DATE=2005-05-31": (
        "test_real_input.py::test_build_is_green"
    ),
    "make metrics": "test_metrics.py::test_make_metrics_lists_them",
    f'make metrics QUERY="{QUERY}"': "test_metrics.py::test_the_page_shows_what_is_answered",
    "make bi": "test_superset.py::test_each_chart_shows_what_the_marts_say",
    **dict.fromkeys(
        ("make airflow", "make airflow SHOP_DAG=models SHOP_SCHEDULE=none"),
        "test_airflow.py::test_a_task_for_each_node_on_a_scheduler",
    ),
    "make dagster": "test_dagster.py::test_make_dagster_serves_on_this_machine_only",
    "systemd-analyze verify /etc/systemd/system/classicmodels.service": (
        "test_timer.py::test_the_units_are_valid"
    ),
    "make bi TARGET=postgres": "test_superset.py::test_each_chart_shows_what_the_marts_say",
    "python scripts/catalog.py --diagram": (
        "test_pages.py::test_diagrams_in_the_documents_are_those_of_the_project"
    ),
    **dict.fromkeys(
        (
            "make undo-load",
            "make undo-load LOAD=20261126T015446123456Z_f063",
            'make undo-load LOAD=20261126T015446123456Z_f063 BECAUSE="prices times a hundred"',
        ),
        "test_build.py::test_make_takes_a_load_back",
    ),
    "make roles TARGET=postgres": "test_roles.py::test_make_prints_unless_told_to_apply",
    "make roles TARGET=postgres APPLY=1": "test_roles.py::test_make_prints_unless_told_to_apply",
    "PGUSER=shop_loader python -m loader --target postgres": (
        "test_roles.py::test_the_shop_changes_and_all_goes_on"
    ),
    "PGUSER=shop_transformer python scripts/build.py --loaded": (
        "test_roles.py::test_the_transformer_builds_beside_and_publishes"
    ),
    "python -m loader --source 'mysql://reader@shop.example/shop?ssl_ca=/etc/ssl/shop-ca.pem'": (
        "test_loader_cli.py::test_tls_to_a_mysql_source"
    ),
    "PGSSLMODE=verify-full PGSSLROOTCERT=/etc/ssl/dwh-ca.pem python -m loader --target postgres": (
        "test_loader_cli.py::test_tls_to_a_postgres_source_and_warehouse"
    ),
    **dict.fromkeys(
        (
            "make watch SOURCE=mysql://watcher:secret@shop.example/classicmodels TARGET=postgres",
            "make watch WATCH=status",
            "make watch WATCH=unwatch",
        ),
        "test_watch_make.py::test_make_watches",
    ),
    **dict.fromkeys(
        (
            *('python -m loader --plan --source "$SOURCE"', "make build ALLOW_OTHER_SOURCE=1"),
            *("rm -rf dbt_packages", "git diff --stat", "dbt parse"),
        ),
        "test_incidents.py::test_the_runbook_mends_it",
    ),
    "make alert-test": "test_incidents.py::test_make_alert_test",
    "python -m tools.redshift_smoke": "test_redshift_smoke.py::test_the_smoke_script",
    "python -m tools.redshift_smoke copy lock": "test_redshift_smoke.py::test_the_smoke_script",
}

_ITSELF = "it runs these tests"
_LONG = "it measures for minutes or hours"
_ROOT = "it needs systemd, and changes the machine"
_THERE = "it needs Redshift; the shim's tests build in its place"
NOT_RUN = {
    "git clone <this repository> classicmodels && cd classicmodels": "a copy is the clone",
    ". .venv/bin/activate": "the commands here have the environment of the tests",
    "make test": _ITSELF,
    "make test-long": _ITSELF,
    "time make test": _ITSELF,
    "time make test-long": _ITSELF,
    'make test PYTEST="-x -k loader"': _ITSELF,
    "make redshift-check": _ITSELF,
    "python -m pytest -k url": _ITSELF,
    "python -m pytest -k questions": _ITSELF,
    "python -m pytest -k superset": _ITSELF,
    'HISTORY_SEED=1234 HISTORY_ROUNDS=17 python -m pytest tests/python -k "history and duckdb"': (
        _ITSELF
    ),
    "python -m pytest -n 0 -s tests/python/project/planted_in_history.py": _LONG,
    "make bench-loader PEERS=1": _LONG,
    "make bench-live PEERS=1": _LONG,
    "python -m tools.mutate": _LONG,
    "python -m tools.mutate --limit 500": _LONG,
    "python -m tools.mutate --only models/marts/finance --limit 100": _LONG,
    "python -m tools.mutate --nulls": _LONG,
    'make bench BENCH="--scales 1 1000"': _LONG,
    'make bench BENCH="--scales 1000 10000 --targets duckdb"': _LONG,
    'make bench BENCH="--scales 1000 --targets postgres"': _LONG,
    "/usr/bin/time -v .venv/bin/python -m sample_shop URL --scale N --replace": _LONG,
    "make requirements && make build && make lint && make test": "it asks the package index",
    "python -m loader --source file:////data/dumps": "tests write to no such folder",
    "sh scripts/environment.sh requirements/redshift.txt": "it installs packages",
    **dict.fromkeys(
        (
            "cp orchestration/systemd/classicmodels.* /etc/systemd/system/",
            "systemctl enable --now classicmodels.timer",
            "journalctl -u classicmodels",
        ),
        _ROOT,
    ),
    'airflow pools set shop_warehouse 1 "One process writes into a DuckDB warehouse"': (
        "it is for another Airflow; make airflow does the same for its own"
    ),
    "make build SOURCE=mysql://reader:secret@shop.example/classicmodels": _THERE,
}
EXPORTED = (
    "export TARGET=redshift",
    "export REDSHIFT_",
    "export TARGET=postgres PGHOST=",
    "export LOADER_PG",
)

# What takes the place of a part of a command here, so that it takes a minute and not ten.
SMALLER = {"--scales 1000 --targets duckdb": "--scales 1 --targets duckdb"}

# Pages that show nothing of the marts, so that the small project does for them.
SMALL = ("CONTRIBUTING.md", "benchmarks.md", "coming-from.md")

FAILS = {  # exit codes that the page explains
    "python -m loader --plan --mode append": 2,
    "python -m loader --config shop.yml --verify-only": 1,
    "python -m loader --config shop.yml --verify-only --log-format json": 1,
    "TARGET=redshift REDSHIFT_HOST=shop.example python -m loader --source sqlite:///shop.sqlite": 2,
}


def is_run(command: Command) -> bool:
    """Whether a command is run here, on its page: where it shows an output, or comes first."""
    text, page = command.text, command.page.name
    if text in NOT_RUN or text.startswith(EXPORTED):
        return False
    if text in BUILD:
        return bool(command.output)
    if page == "CONTRIBUTING.md":  # which changes the project between two builds
        return True
    first = next(c for page in BY_PAGE.values() for c in page if c.text == text)
    return text not in ELSEWHERE and (first is command or bool(command.output))


PLAYED = [name for name, typed in BY_PAGE.items() if any(map(is_run, typed))]


def shell(folder: Path, text: str, variables: dict[str, str], status: int = 0) -> str:
    """Run a command as typed; what it printed."""
    done = subprocess.run(
        ["sh", "-c", text],
        cwd=folder,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == status, f"{text}\n{done.stdout}"
    return done.stdout


def plain(text: str) -> str:
    """An output without its spacing, and without what differs from run to run."""
    for pattern, instead in (
        (r"\b\d+\.\d s\b", "# s"),
        (r"\b\d+ kB", "# kB"),
        (r"(?m)\d+\.\d +\d+\.\d\d$", "# #"),  # MB and seconds in the loader's table
        (r'"seconds": [\d.]+', '"seconds": #'),
        # How many keys a range spans follows the server's statistics.
        (r"(\d+) of \d+ ranges", r"\1 of # ranges"),
        # And with it how many rows are in three ranges, which is what is read.
        (r"(?m)^(orderdetails +diff +)[\d,]+", r"\1#"),
        (r"(?m)^(orderdetails +)[\d,]+(?=( +\d+){3} )", r"\1#"),
        (r'"diff", "rows": \d+', '"diff", "rows": #'),
        (r"mysql://\w+:\*\*\*@", "mysql://reader:***@"),
        (r"127\.0\.0\.1:\d+/\w+", "127.0.0.1:#"),
        (r"\bbatch \w+", "batch #"),
    ):
        text = re.sub(pattern, instead, text)
    return " ".join(text.split())


def assert_shown(shown: str, printed: str) -> None:
    """A page shows what a command printed; `...` stands for any text."""
    pattern = ".*".join(re.escape(part.strip()) for part in plain(shown).split("..."))
    assert re.fullmatch(pattern, plain(printed)), f"the page shows\n{shown}\nand not\n{printed}"


@dataclass
class Place:
    """A copy of the built project, with the servers that it reaches under invented addresses."""

    folder: Path
    mariadb: MariaDBServer
    addresses: dict[str, str]
    variables: dict[str, str]

    def play(self, command: Command) -> str:
        text = command.text
        for shown, played in (self.addresses | SMALLER).items():
            text = text.replace(shown, played)
        if text.startswith("export "):
            name, _, value = text.removeprefix("export ").partition("=")
            self.variables[name] = value
            return ""
        return shell(self.folder, text, self.variables, FAILS.get(command.text, 0))

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text("utf-8")
        assert text.count(old) == 1, f"{path}: {old}"
        (self.folder / path).write_text(text.replace(old, new), "utf-8")


# -- what happens between the commands of a page ---------------------------------------------------


def load_postgres(place: Place) -> None:
    shell(
        place.folder,
        "python -m loader --source sqlite:///shop.sqlite --target postgres",
        place.variables,
    )


def fewer_models(place: Place) -> None:
    """What follows is about shops and warehouses; test_real_input.py builds all of another shop."""
    make_small(place.folder)


def another_warehouse(place: Place) -> None:
    place.variables["DUCKDB_PATH"] = "own.duckdb"


def the_sample_again(place: Place) -> None:
    del place.variables["DUCKDB_PATH"], place.variables["SOURCE"]


def add_a_column(place: Place) -> None:
    """What CONTRIBUTING.md says, in the three files that it names."""
    place.edit(
        "models/staging/classicmodels/stg_classicmodels__order_details.sql",
        "as product_code,",
        "as product_code,\n        {{ clean_text('giftnote') }} as gift_note,",
    )
    path = place.folder / "models" / "marts" / "core" / "fact_orders.sql"
    steps = re.compile(r"^( +(?:\w+\.)?)order_line_number,\n", re.MULTILINE)
    text, found = steps.subn(r"\g<0>\1gift_note,\n", path.read_text("utf-8"))
    assert found >= 1
    path.write_text(text, "utf-8")
    place.edit(
        "models/marts/core/fact_orders.yml",
        "      - name: order_line_number\n",
        "      - name: gift_note\n"
        "        data_type: varchar(512)\n"
        "        description: Greeting.\n"
        "        config: {meta: {personal_data: true, unit: none, additive: false}}\n"
        "      - name: order_line_number\n",
    )


def prepare_loads(place: Place) -> None:
    """Nothing is loaded yet; the team's file is the page's, and there is a folder of dumps."""
    (place.folder / "warehouse.duckdb").unlink()
    page = REPO / "docs" / "loader.md"
    (config,) = [b.text for b in blocks(page) if b.text.startswith("source: mysql://")]
    shop = place.addresses["mysql://reader@shop.example/shop"]
    config = re.sub(r"^source: \S+", f"source: {shop}", config)
    (place.folder / "shop.yml").write_text(config, "utf-8")
    place.variables |= {"SOURCE": shop, "LOAD_HASH_SALT": "pepper"}
    place.addresses["mysql://reader:secret@shop.example/classicmodels"] = shop
    (place.folder / "dumps").mkdir()
    (place.folder / "dumps" / "visits.csv").write_text("id;place\n1;Nantes\n", "utf-8")


def commas(place: Place) -> None:
    (place.folder / "dumps" / "visits.csv").write_text("id,place\n1,Nantes\n", "utf-8")


def after_a_week(place: Place) -> None:
    """A column more, three changed order lines and a changed payment."""
    for sql in (
        "alter table customers add column language varchar(20)",
        "update orderdetails set quantityOrdered = quantityOrdered + 1"
        " where orderNumber in (10500, 11500, 12500) and orderLineNumber = 1",
        "update payments set amount = amount + 1 order by paymentDate desc, checkNumber limit 1",
    ):
        place.mariadb.execute(sql, own("documents_shop"))


def change_prices(place: Place) -> None:
    place.mariadb.execute(
        "update orderdetails set priceEach = priceEach + 1"
        " where orderNumber in (10500, 10501, 11500) and orderLineNumber = 1",
        own("documents_shop"),
    )


def add_a_column_to_the_shop(place: Place) -> None:
    add = "alter table customers add column nickname varchar(20)"
    place.mariadb.execute(add, own("documents_shop"))


# By page and command: what happens before it comes for the first time.
BEFORE: dict[tuple[str, str], Callable[[Place], None]] = {
    ("README.md", next(c.text for c in BY_PAGE["README.md"] if "SOURCE=mysql" in c.text)): (
        fewer_models
    ),
    ("coming-from.md", "TARGET=postgres dbt build"): load_postgres,
    ("own-shop.md", "export SOURCE=mysql://reader@shop.example/classicmodels"): another_warehouse,
    ("own-shop.md", BY_PAGE["own-shop.md"][-2].text): the_sample_again,
    ("CONTRIBUTING.md", next(c.text for c in BY_PAGE["CONTRIBUTING.md"] if "<<" in c.text)): (
        add_a_column
    ),
    ("loader.md", BY_PAGE["loader.md"][0].text): prepare_loads,
    ("loader.md", "python -m loader --config shop.yml --plan"): after_a_week,
    ("loader.md", "python -m loader --config shop.yml --verify-only"): change_prices,
    ("loader.md", "python -m loader --config shop.yml --plan --log-format json"): change_prices,
    ("loader.md", "python -m loader --config shop.yml --verify-only --log-format json"): (
        add_a_column_to_the_shop
    ),
    ("loader.md", "python -m loader --source 'file:///dumps/*.csv'"): commas,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project after the commands of README.md, and what the last of them printed."""
    project = copy_project(tmp_path_factory.mktemp("documents") / "classicmodels")
    made, build = BUILD
    shell(project, made, {})
    return project, shell(project, build, {})


@pytest.fixture(scope="module")
def addresses(mariadb: MariaDBServer, postgres: PostgresServer) -> dict[str, str]:
    """Where the shops of the documents are: the invented address -> that of a private server."""
    reader = own("reader")
    # A process that takes tests of another one may come to this module a second time.
    mariadb.execute(f"create or replace user {reader} identified by 'secret'")
    found = {}
    for name, scale in (("classicmodels", 1), ("shop", 10)):
        database = own(f"documents_{name}")
        create_shop(mariadb.create_database(database), as_of=AS_OF, scale=scale)
        mariadb.execute(f"grant select on {database}.* to {reader}")
        for password in (":secret", ""):
            for port in (":3306", ""):
                there = f"mysql://{reader}{password}@127.0.0.1:{mariadb.port}/{database}"
                found[f"mysql://reader{password}@shop.example{port}/{name}"] = there
    url = postgres.create_database(own("documents_shop"))
    create_shop(url, as_of=AS_OF)
    return found | {"postgresql://reader:secret@shop.example/shop": url}


@pytest.mark.long
def test_the_build_prints_what_the_readme_shows(built: tuple[Path, str]) -> None:
    (shown,) = [b.text for b in blocks(REPO / "README.md") if b.text.startswith("  load ")]
    assert_shown(f"...\n{shown}", built[1])


@pytest.mark.long
@pytest.mark.parametrize("page", PLAYED)
def test_commands_work(
    page: str,
    addresses: dict[str, str],
    mariadb: MariaDBServer,
    postgres: PostgresServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    project = small_build()[0] if page in SMALL else request.getfixturevalue("built")[0]
    folder = shutil.copytree(project, tmp_path / "classicmodels")
    database = own(f"documents_{PLAYED.index(page)}")
    postgres.create_database(database)
    variables = {**postgres.environment(database), "SOURCE_PASSWORD": "secret"}
    place = Place(Path(folder), mariadb, dict(addresses), variables)
    before = {text: change for (name, text), change in BEFORE.items() if name == page}
    for command in BY_PAGE[page]:
        change = before.pop(command.text, None)
        if change:
            change(place)
        if is_run(command):
            printed = place.play(command)
            if command.output:
                assert_shown("\n".join(command.output), printed)
    assert not before, "BEFORE names a command that the page does not have"
    # What a command writes into the documents is what they have.
    for document in pages(REPO):
        played = place.folder / document.relative_to(REPO)
        assert played.read_text("utf-8") == document.read_text("utf-8")


def test_what_is_not_run_has_its_test_or_reason() -> None:
    typed = {command.text for page in BY_PAGE.values() for command in page}
    assert set(ELSEWHERE) | set(NOT_RUN) | set(FAILS) | set(BUILD) <= typed, "no page has it"
    assert not set(ELSEWHERE) & set(NOT_RUN)
    assert all(any(part in text and text not in NOT_RUN for text in typed) for part in SMALLER)
    for place in ELSEWHERE.values():
        module, test = place.split("::")
        (path,) = (REPO / "tests" / "python").rglob(module)
        assert f"def {test}(" in path.read_text("utf-8"), place


@pytest.mark.parametrize(
    "text", [text for text in NOT_RUN if text.startswith(("make", "time make"))]
)
def test_make_knows_what_is_not_run(text: str) -> None:
    shell(REPO, text.removeprefix("time ").replace("make ", "make -n "), {})


@pytest.mark.parametrize("text", [text for text in NOT_RUN if " -k " in text])
def test_pytest_has_what_is_not_run(text: str) -> None:
    (chosen,) = re.findall(r'-k "?([\w ]+)', text)
    files = (REPO / "tests" / "python").rglob("test_*.py")
    names = [f"{path.name} {name}" for path in files for name in _tests(path)]
    assert any(all(word in name for word in chosen.split(" and ")) for name in names)


def _tests(path: Path) -> list[str]:
    return re.findall(r"def (test_\w+)", path.read_text("utf-8"))
