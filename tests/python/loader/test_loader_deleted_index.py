"""Deleted rows have an index of their own in PostgreSQL, so that what asks for them is no scan."""

from __future__ import annotations

import psycopg

from loader import PostgresDestination, load
from support.one_run import own
from tools.servers import PostgresServer

INDEXES = (
    "select pg_get_expr(indpred, indrelid) from pg_index"
    " where indrelid = 'raw_classicmodels.lines'::regclass"
)
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
