"""One message when something goes wrong and one when it is over, whatever else happens."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from pages.incidents import paragraphs
from support.commands import Run, assert_one_sentence, run, script, tiny_build
from support.followed import Followed, ended, place_of
from support.one_run import own
from tools.servers import MariaDBServer, PostgresServer

CHANNEL = """\
alerts:
  channels: [{name: pager, command: [sh, -c, "cat >> told; echo >> told"]}]
"""
DEAD = """\
alerts:
  channels: [{name: pager, command: [sh, -c, "echo the line is dead; exit 1"]}]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tiny project that was built, with a channel that writes what it is told into a file."""
    project = Path(shutil.copytree(tiny_build(), tmp_path / "project"))
    (project / "loader.yml").write_text(CHANNEL, "utf-8")
    return project


def told(project: Path) -> list[dict[str, Any]]:
    """The messages that the channel got."""
    path = project / "told"
    return (
        [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        if path.is_file()
        else []
    )


def events(project: Path) -> list[str]:
    return [message["event"] for message in told(project)]


def build(project: Path, status: int = 0, /, **variables: str) -> Run:
    done = script(project, "build", **variables)
    assert done.status == status, done.out + done.err
    assert "Traceback" not in done.out + done.err
    return done


def shop(project: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(project / "shop.sqlite")) as connection, connection:
        connection.execute(statement)


def lose_an_order(project: Path) -> None:
    shop(
        project,
        "update orders set status = 'Lost'"
        " where orderNumber = (select min(orderNumber) from orders)",
    )


def find_it_again(project: Path) -> None:
    shop(project, "update orders set status = 'Shipped' where status = 'Lost'")


def incidents(project: Path, query: str = "select kind, subject, closed_at is null") -> list[Any]:
    """Those in the warehouse that people read."""
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as warehouse:
        found: list[Any] = warehouse.execute(
            f"{query} from raw_classicmodels._incidents order by 1"
        ).fetchall()
    return found


def page(project: Path) -> dict[str, Any]:
    site = project / "target" / "site"
    assert "<h1>Incidents</h1>" in (site / "incidents.html").read_text("utf-8")
    found: dict[str, Any] = json.loads((site / "incidents.json").read_text("utf-8"))
    return found


TEST = ("test failed", "order_statuses_are_known")


def test_one_message_for_each_incident_and_one_when_it_is_over(project: Path) -> None:
    build(project)
    assert not told(project) and "Nothing is wrong" in (
        project / "target/site/incidents.html"
    ).read_text("utf-8")
    lose_an_order(project)
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as reader:
        before = reader.execute("select count(*) from marts.fact_orders").fetchall()
        red = build(project, 1)
        # Who has the file open goes on reading it.
        assert reader.execute("select count(*) from marts.fact_orders").fetchall() == before
    assert "alert: pager: told" in red.out
    assert events(project) == ["test failed"]
    assert "value_field Lost" in told(project)[0]["body"]
    assert incidents(project) == [(*TEST, True)]
    assert (project / "warehouse.duckdb.failed" / "warehouse.duckdb").is_file()
    (open_,) = page(project)["open"]
    assert "fact_orders" in open_["marts"] and open_["owners"] and open_["told"]
    assert "accepted_rows.csv" in open_["what_to_do"]["text"]
    assert "All marts as the last green build left them" in open_["readers_see"]

    build(project, 1)
    assert events(project) == ["test failed"]
    find_it_again(project)
    build(project)
    assert events(project) == ["test failed", "back to green"]
    assert incidents(project) == [(*TEST, False)]
    assert page(project)["open"] == [] and len(page(project)["over"]) == 1
    build(project)
    lose_an_order(project)
    build(project, 1)
    assert events(project) == ["test failed", "back to green", "test failed"]


@pytest.mark.long
def test_a_dead_channel_fails_nothing_and_is_tried_again(project: Path) -> None:
    (project / "loader.yml").write_text(DEAD, "utf-8")
    lose_an_order(project)
    red = build(project, 1)
    assert "pager: WARNING: not told: exit code 1: the line is dead" in red.err
    (channel,) = page(project)["channels"]
    assert channel == {"name": "pager", "failed": "exit code 1: the line is dead"}
    assert "the line is dead" in (project / "target/site/incidents.html").read_text("utf-8")
    (project / "loader.yml").write_text(CHANNEL, "utf-8")
    build(project, 1)
    assert events(project) == ["test failed"]
    (project / "loader.yml").write_text(DEAD, "utf-8")
    find_it_again(project)
    assert "the line is dead" in build(project).err
    (project / "loader.yml").write_text(CHANNEL, "utf-8")
    build(project)
    build(project)
    assert events(project) == ["test failed", "back to green"]


def test_nobody_is_told_of_what_nobody_asked_for(project: Path) -> None:
    (project / "loader.yml").write_text(f"{CHANNEL}  events: [stale]\n", "utf-8")
    lose_an_order(project)
    build(project, 1)
    assert not told(project) and incidents(project) == [(*TEST, True)]


@pytest.mark.long
def test_a_red_load_does_not_end_what_was_red(project: Path) -> None:
    lose_an_order(project)
    build(project, 1)
    (project / "shop.sqlite").rename(project / "away")
    build(project, 1, SOURCE="sqlite:///shop.sqlite", ALLOW_OTHER_SOURCE="1")
    assert events(project) == ["test failed", "failed"]
    assert [row[1:] for row in incidents(project)] == [
        ("load", True),
        ("order_statuses_are_known", True),
    ]
    (project / "away").rename(project / "shop.sqlite")
    build(project, 1)
    assert events(project) == ["test failed", "failed", "back to green"]
    find_it_again(project)
    build(project)
    assert events(project)[3:] == ["back to green"]


def test_stale_odd_and_changed_tables_are_told_and_shown(project: Path) -> None:
    (project / "loader.yml").write_text(
        f"{CHANNEL}expect:\n  payments: {{newest: paymentDate, newest_within: 1 minute}}\n", "utf-8"
    )
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        raw = "raw_classicmodels"
        for days in range(7, 43, 7):
            new = f"'0{days}' || batch_id as batch_id"
            ago = ", ".join(
                f"{column} - interval {days} day as {column}"
                for column in ("started_at", "finished_at")
            )
            for table, changed in (("_load_runs", f"{new}, {ago}"), ("_load_tables", new)):
                warehouse.execute(
                    f"insert into {raw}.{table} select * replace ({changed}) from {raw}.{table}"
                    " where batch_id not like '0%'"
                )
        # The last load, which is of the day of this test, is green and empty.
        warehouse.execute(
            f"update {raw}._load_tables set rows_inserted = 0 where batch_id not like '0%'"
        )
    shop(project, "alter table payments add column voucher text")
    green = build(project)
    assert "payments: the newest paymentdate" in green.out and "new rows on" in green.out
    kinds = {incident["kind"] for incident in told(project)[0]["incidents"]}
    assert kinds == {"stale", "volume odd", "schema changed"} and len(told(project)) == 1
    subjects = [i["subject"] for i in told(project)[0]["incidents"]]
    assert [s for s in subjects if s.startswith("payments.voucher: ")]
    start = (project / "target/site/index.html").read_text("utf-8")
    assert "payments: the newest paymentdate is" in start
    assert "paymentdate within 1 minute" in start
    again = build(project)
    assert "payments: the newest paymentdate" in again.out and len(told(project)) == 1
    (project / "loader.yml").write_text(f"{CHANNEL}expect: {{'*': {{usual_share: 0}}}}\n", "utf-8")
    build(project)
    assert events(project)[1:] == ["back to green"]
    assert {i["kind"] for i in told(project)[1]["incidents"]} == {"stale", "volume odd"}


def test_what_is_accepted_until_today_is_told(project: Path) -> None:
    with (project / "seeds" / "accepted_rows.csv").open("a", encoding="utf-8") as file:
        today = datetime.now(UTC).date()
        file.write(f"some_test,17,being looked for,Ann,{today}\n")
    build(project)
    assert events(project)[-1] == "acceptance ends"
    assert "until today: being looked for (Ann)" in told(project)[-1]["body"]


@pytest.mark.long
def test_incidents_of_two_machines_and_one_postgres(
    tmp_path: Path, project: Path, postgres: PostgresServer
) -> None:
    database = own("incidents")
    postgres.create_database(database)
    variables = {
        "TARGET": "postgres",
        "SOURCE": f"sqlite:///{project / 'shop.sqlite'}",
        **postgres.environment(database),
    }
    build(project, **variables)
    other = Path(shutil.copytree(project, tmp_path / "other"))
    lose_an_order(project)
    build(project, 1, **variables)
    build(other, 1, **variables)
    assert events(project) == ["test failed"] and not told(other)
    find_it_again(project)
    build(other, **variables)
    build(project, **variables)
    assert events(project) == ["test failed"] and events(other) == ["back to green"]
    with psycopg.connect(postgres.url(database)) as connection:
        rows = connection.execute(
            "select kind, subject, closed_at is null from raw_classicmodels._incidents"
        ).fetchall()
    assert rows == [(*TEST, False)]
    # A warehouse that is away is an incident too, which its table cannot hold.
    away = variables | {"PGPORT": "9"}
    build(project, 1, **away)
    assert events(project)[1:] == ["failed"]


@pytest.mark.long
@pytest.mark.parametrize("target", ["duckdb", "postgres"], indirect=True)
def test_a_watch_tells_at_once(logging_mariadb: MariaDBServer, target: Any, tmp_path: Path) -> None:
    """A red test and stale rows, while marts follow; and that they are over."""
    config = tmp_path / "loader.yml"
    config.write_text(
        CHANNEL.replace("told", str(tmp_path / "told"))
        + "expect: {payments: {newest: paymentDate, newest_within: 1 minute}}\n",
        "utf-8",
    )
    place = place_of(target) | {"LOAD_CONFIG": str(config)}
    with ended(Followed(logging_mariadb, place, target.ask, tmp_path)) as followed:
        followed.start("--slow", "5s")
        followed.wait_until_it_follows()
        followed.wait_for(lambda: "stale" in events(tmp_path))  # by its first build
        followed.sells(0)
        followed.wait_for(lambda: "test failed" in events(tmp_path))
        followed.sells(7)
        followed.wait_for(lambda: "back to green" in events(tmp_path))
        followed.end()
    assert events(tmp_path) == ["stale", "test failed", "back to green"], followed.said
    assert "Traceback" not in followed.said and "WARNING: " not in followed.said


def test_make_alert_test(project: Path) -> None:
    done = script(project, "alert_test")
    assert (done.status, done.out) == (0, "  pager: sent\n"), done.err
    assert events(project) == ["test"]
    (project / "loader.yml").write_text(DEAD, "utf-8")
    done = script(project, "alert_test")
    assert done.status == 1 and "the line is dead" in done.out
    (project / "loader.yml").write_text("alerts: {channels: [{url: '${NO_SUCH}'}]}", "utf-8")
    assert_one_sentence(script(project, "alert_test"), "NO_SUCH")


# By the kind of incident: a file, and what is planted at its end.
PLANTED = {
    "failed: load": ("loader.yml", "required: [models/]\nexclude: [orders]\n"),
    "failed: settings": ("loader.yml", "expect: {orders: {fresh: 1 day}}\n"),
    "failed: dbt": ("models/marts/core/dim_dates.sql", "-- {{ ref('no_such_model') }}\n"),
    "failed: model": ("models/marts/core/dim_products_current.sql", "\nwhere no_such_column = 1\n"),
    "failed: crash": ("pipeline/changes.py", "\ndef inputs(*_):\n    raise RuntimeError('x')\n"),
    "failed: working copy": ("", ""),
    "failed: packages": ("packages.yml", "  - package: somebody/no_such\n    version: 1.0.0\n"),
    "failed: shop": ("", ""),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", PLANTED)
def test_the_runbook_mends_it(project: Path, tmp_path: Path, kind: str) -> None:
    """Each kind is called so, and over after the commands of its paragraph."""
    name, text = PLANTED[kind]
    before = (project / name).read_text("utf-8") if name else ""
    source = f"sqlite:///{project / 'shop.sqlite'}"
    build(project, SOURCE=source, ALLOW_OTHER_SOURCE="1")
    if name:
        (project / name).write_text(before + text, "utf-8")
    if kind == "failed: shop":
        source = f"sqlite:///{shutil.copy(project / 'shop.sqlite', tmp_path / 'moved.sqlite')}"
    with contextlib.ExitStack() as other:
        if kind == "failed: working copy":
            other.enter_context(duckdb.connect(str(project / "warehouse.duckdb")))
        done = script(project, "build", SOURCE=source)
    assert done.status == 1, done.out + done.err
    (open_,) = [i for i in page(project)["open"] if f"{i['kind']}: {i['subject']}".startswith(kind)]
    assert events(project) == ["failed"] and open_["marts"]
    if name:
        (project / name).write_text(before, "utf-8")
    for command in open_["what_to_do"]["commands"].splitlines():
        mended = run(project, "sh", "-c", command, SOURCE=source)
        assert mended.status == 0 or command.startswith("git"), mended.out + mended.err
    assert page(project)["open"] == []
    assert events(project) == ["failed", "back to green"]


def test_each_kind_has_a_paragraph() -> None:
    """Those that are planted here or found by a test above, and no other."""
    told_above = {"test failed", "stale", "volume odd", "schema changed", "acceptance ends"}
    watched = {"failed: watch", "failed: source"}  # test_watch_telling.py
    same = {"failed: snapshot", "failed: catalog"}
    assert set(paragraphs()) == {*PLANTED, *told_above, *watched, *same}
    assert all(part["text"] and part["commands"] for part in paragraphs().values())
