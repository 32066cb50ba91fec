"""Raw tables in PostgreSQL have indexes, so that what asks for few of their rows is no scan."""

from __future__ import annotations

import psycopg

from loader import PostgresDestination, load
from loader.destinations.postgres_indexes import MANY_ROWS
from support.logging_servers import Target
from support.one_run import own
from tools.servers import PostgresServer

INDEXES = (
    "select pg_get_expr(indpred, indrelid) from pg_index"
    " where indrelid = 'raw_classicmodels.lines'::regclass"
)
WHOLE_INDEXES = """
select c.relname, a.attname
from pg_index as i
inner join pg_class as c on i.indrelid = c.oid
inner join pg_attribute as a on a.attrelid = c.oid and a.attnum = i.indkey[0]
where c.relname in ('lines', 'words', 'few') and i.indpred is null
order by 1, 2
"""
# As a fact asks: each row with what is known of the gone.
QUERY = """
explain select md5(cast(lines.k as text)), gone._loaded_at
from raw_classicmodels.lines
left join (
    select k, max(_loaded_at) as _loaded_at
    from raw_classicmodels.lines
    where _deleted_at is not null
    group by k
) as gone on lines.k = gone.k
where lines._deleted_at is null
"""


def test_a_query_of_deleted_rows_is_no_scan(postgres: PostgresServer) -> None:
    source, target = own("gone_source"), own("gone_target")
    url = postgres.create_database(source)
    postgres.create_database(target)
    postgres.execute(
        "create table lines (k integer primary key, v text);"
        " insert into lines select n, 'v' from generate_series(1, 50000) as n",
        source,
    )
    options = psycopg.conninfo.conninfo_to_dict(postgres.url(target))
    open_target = {name: str(value) for name, value in options.items()}

    def loaded() -> list[str]:
        load(url, PostgresDestination("raw_classicmodels", **open_target))
        assert postgres.execute(INDEXES, target) == [("(_deleted_at IS NOT NULL)",)]
        with psycopg.connect(postgres.url(target)) as connection:
            connection.execute("set parallel_setup_cost = 0; set parallel_tuple_cost = 0.01")
            connection.execute("set min_parallel_table_scan_size = 0")
            return [str(line) for (line,) in connection.execute(QUERY).fetchall()]

    assert loaded()[0].startswith("Gather")
    # A warehouse of an earlier version gets it with its next change.
    ((name,),) = postgres.execute(
        "select cast(indexrelid as regclass) from pg_index"
        " where indrelid = 'raw_classicmodels.lines'::regclass",
        target,
    )
    postgres.execute(f"drop index {name}; ", target)
    postgres.execute("delete from lines where k < 10", source)
    plan = loaded()
    assert plan[0].startswith("Gather") and any("Index" in line for line in plan), plan


def test_a_large_table_that_changes_has_indexes_of_its_loads_and_its_key(
    postgres: PostgresServer,
) -> None:
    source, target = own("many_source"), own("many_target")
    url = postgres.create_database(source)
    postgres.create_database(target)
    postgres.execute(
        "create table lines (k integer, l integer, v text, primary key (k, l));"
        " create table words (k text primary key);"
        " create table few (k integer primary key);"
        f" insert into lines select n, 1, 'v' from generate_series(1, {MANY_ROWS}) as n;"
        f" insert into words select repeat('w', 30) || n from generate_series(1, {MANY_ROWS}) as n;"
        " insert into few select generate_series(1, 9)",
        source,
    )
    options = psycopg.conninfo.conninfo_to_dict(postgres.url(target))
    open_target = {name: str(value) for name, value in options.items()}

    def loaded() -> dict[str, list[str]]:
        load(url, PostgresDestination("raw_classicmodels", **open_target))
        found: dict[str, list[str]] = {"lines": [], "words": [], "few": []}
        for table, column in postgres.execute(WHOLE_INDEXES, target):
            found[table].append(column)
        return found

    # The first load takes no longer.
    assert loaded() == {"lines": [], "words": [], "few": []}
    change = "insert into lines values (0, 1, 'v'); insert into few values (0);"
    postgres.execute(f"{change} insert into words values (repeat('w', 100000))", source)
    # An index of texts would refuse the long one.
    indexed = {"lines": ["_loaded_at", "k"], "words": ["_loaded_at"], "few": []}
    assert loaded() == indexed
    postgres.execute("delete from lines where k = 0", source)
    assert loaded() == indexed


def test_a_load_that_may_make_no_index_says_so_and_loads(postgres: PostgresServer) -> None:
    source, target, role = own("no_index_source"), own("no_index_target"), own("no_owner")
    url = postgres.create_database(source)
    postgres.create_database(target)
    lines = f"select n, 'v' from generate_series(1, {MANY_ROWS}) as n"
    postgres.execute(
        f"create table lines (k integer primary key, v text); insert into lines {lines}", source
    )
    options = psycopg.conninfo.conninfo_to_dict(postgres.url(target))
    owner = {name: str(value) for name, value in options.items()}
    load(url, PostgresDestination("raw_classicmodels", **owner))
    postgres.execute(f"create role {role} login password 'p'")
    postgres.execute(
        f"grant all on schema raw_classicmodels to {role};"
        f" grant all on all tables in schema raw_classicmodels to {role};",
        target,
    )
    postgres.execute("update lines set v = 'w' where k = 1", source)
    other = PostgresDestination("raw_classicmodels", **{**owner, "user": role, "password": "p"})
    result = load(url, other)
    no_index = "lines got no index, so builds take longer: must be owner of table lines."
    assert result.warnings.count(no_index) == 2
    changed = "select count(*) from raw_classicmodels.lines where v = 'w'"
    assert postgres.execute(changed, target) == [(1,)]


def test_a_batch_that_finds_its_index_waits_for_nobody(into_postgres: Target) -> None:
    """Another session writes into the table; to make the index would wait for its end."""
    locks = "select mode from pg_locks where relation = 'raw._load_commits'::regclass"
    index = "select count(*) from pg_indexes where indexname = '_load_commits_row_key'"
    into_postgres.ask("create schema raw")
    destination = into_postgres.opened()
    assert isinstance(destination, PostgresDestination)
    for is_there in (False, True):
        assert into_postgres.ask(index) == [(int(is_there),)]
        destination.open()
        destination.prepare_commits()
        if is_there:
            assert ("ShareLock",) not in into_postgres.ask(locks)
        destination.commit([])
        destination.close()
