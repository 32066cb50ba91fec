"""`make build` under two users: one loads, one builds, each with the rights of its role alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from conftest import require
from loader.destinations import loader_user
from loader.errors import UsageError
from support.commands import assert_one_sentence, script, tiny_project
from tools.servers import HOST, PostgresServer

PASSWORD = "and not the other"
RUNS = "select command, outcome from raw_classicmodels._runs order by run_id"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own, for roles are the whole server's."""
    require(PostgresServer)
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_project(tmp_path_factory.mktemp("users") / "project")


@pytest.fixture(scope="module")
def there(project: Path, server: PostgresServer) -> dict[str, str]:
    """A database with the roles of `make roles`, and the two users of docs/operations.md."""
    server.create_database("shop_of_two")
    base = {"TARGET": "postgres", **server.environment("shop_of_two")}
    admin = base | {"PGUSER": server.administrator, "PGPASSWORD": server.password}
    done = script(project, "roles", "--apply", **admin)
    assert done.status == 0, done.err
    for name in ("loader", "transformer"):
        role, user = f"classicmodels_{name}", f"shop_{name}"
        server.execute(f"create role {user} login in role {role} password '{name} {PASSWORD}'")
        server.execute(f"alter role {user} set role to {role}")
    return base | {
        "PGUSER": "shop_transformer",
        "PGPASSWORD": f"transformer {PASSWORD}",
        "LOADER_PGUSER": "shop_loader",
        "LOADER_PGPASSWORD": f"loader {PASSWORD}",
    }


def ask(server: PostgresServer, sql: str) -> list[tuple[object, ...]]:
    """As the server's administrator, who sees all."""
    with psycopg.connect(
        host=HOST,
        port=server.port,
        user=server.administrator,
        password=server.password,
        dbname="shop_of_two",
    ) as connection:
        return connection.execute(sql.encode()).fetchall()


def trade(project: Path, comment: str) -> None:
    with sqlite3.connect(project / "shop.sqlite") as shop:
        shop.execute(
            "update orders set comments = ? where orderNumber ="
            " (select max(orderNumber) from orders where status = 'Shipped')",
            (comment,),
        )


@pytest.mark.long
def test_one_command_two_users(
    project: Path, there: dict[str, str], server: PostgresServer
) -> None:
    first = script(project, "build", **there)
    assert first.status == 0 and "WARNING: this run" not in first.err, first.out + first.err
    owners = ask(
        server,
        "select distinct n.nspname, pg_get_userbyid(c.relowner) from pg_class as c"
        " inner join pg_namespace as n on c.relnamespace = n.oid"
        " where n.nspname in ('raw_classicmodels', 'marts', 'snapshots', 'staging')"
        " and c.relkind in ('r', 'v') order by 1",
    )
    assert owners == [
        ("marts", "classicmodels_transformer"),
        ("raw_classicmodels", "classicmodels_loader"),
        ("snapshots", "classicmodels_transformer"),
        ("staging", "classicmodels_transformer"),
    ]
    assert (project / "target").rglob("site/index.html")
    trade(project, "It fails.")
    red = script(project, "build", BUILD="all", **there)
    assert red.status == 1 and "Traceback" not in red.err
    trade(project, "Fine.")
    green = script(project, "build", **there)
    assert green.status == 0, green.out + green.err
    # The halves, each by its user: also who only builds records it.
    loaded = {**there, "PGUSER": "shop_loader", "PGPASSWORD": f"loader {PASSWORD}"}
    assert script(project, "load", "--source", "sqlite:///shop.sqlite", **loaded).status == 0
    alone = {name: value for name, value in there.items() if not name.startswith("LOADER_")}
    half = script(project, "build", "--loaded", **alone)
    assert half.status == 0 and half.err == "", half.err
    assert ask(server, RUNS) == [
        ("make build", "succeeded"),
        ("make build", "failed"),
        ("make build", "succeeded"),
        ("python -m loader", "succeeded"),
        ("make build", "succeeded"),
    ]
    listed = script(project, "runs", **alone)
    assert listed.status == 0 and len(listed.out.splitlines()) == 6


@pytest.mark.long
@pytest.mark.parametrize(
    ("role", "sql"),
    [
        ("loader", "select count(*) from marts.fact_orders"),
        ("loader", "create table marts.t (a int)"),
        (
            "transformer",
            "insert into raw_classicmodels.orders select * from raw_classicmodels.orders",
        ),
        ("transformer", "create table raw_classicmodels.t (a int)"),
        ("transformer", "drop table raw_classicmodels._runs"),
    ],
)
def test_neither_may_what_the_other_may(
    role: str, sql: str, there: dict[str, str], server: PostgresServer
) -> None:
    connection = psycopg.connect(
        host=there["PGHOST"],
        port=server.port,
        dbname="shop_of_two",
        user=f"shop_{role}",
        password=f"{role} {PASSWORD}",
    )
    with connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql.encode())


def test_a_wrong_password_of_the_loader_is_one_sentence(
    project: Path, there: dict[str, str]
) -> None:
    """And dbt's password is not tried for the loader."""
    wrong = script(project, "build", **(there | {"LOADER_PGPASSWORD": "wrong"}))
    assert_one_sentence(wrong, "make build: The PostgreSQL warehouse", "(user shop_loader)")
    none = script(project, "build", **(there | {"LOADER_PGPASSWORD": ""}))
    assert none.status == 1 and "password" in none.err


def test_only_the_user_is_the_loaders_own() -> None:
    assert loader_user({"PGUSER": "a", "LOADER_PGUSER": ""}) == {}
    with pytest.raises(UsageError, match="LOADER_PGHOST is not a setting"):
        loader_user({"LOADER_PGUSER": "a", "LOADER_PGHOST": "elsewhere"})
    with pytest.raises(UsageError, match="LOADER_PGPASSWORD needs LOADER_PGUSER"):
        loader_user({"LOADER_PGPASSWORD": "a"})
