"""While a load waits for rows of PostgreSQL, its other threads go on, and signals come."""

import itertools
import threading
import time

import psycopg

from loader.dialects.postgres import copied_out
from support.one_run import own
from tools.servers import PostgresServer

SLOW = 1.5
# More than libpq's buffer first, so that what comes then has to be waited for.
ROWS = f"""
copy (
    select repeat('x', 1000) || case when n > 0 then pg_sleep({SLOW})::text else '' end
    from generate_series(-100, 1) as s (n)
) to stdout
"""


def test_others_go_on_while_rows_are_awaited(postgres: PostgresServer) -> None:
    """A driver that keeps Python's lock would let nobody notice that the network is silent."""
    rows: list[bytes] = []
    moments = [time.monotonic()]
    with psycopg.connect(postgres.create_database(own("threads"))) as connection:

        def read() -> None:
            rows.extend(bytes(row) for row in copied_out(connection, ROWS))

        thread = threading.Thread(target=read)
        thread.start()
        while thread.is_alive():
            time.sleep(0.01)
            moments.append(time.monotonic())
    assert len(rows) == 102
    assert moments[-1] - moments[0] > SLOW
    longest = max(later - earlier for earlier, later in itertools.pairwise(moments))
    assert longest < SLOW / 2, f"nothing else ran for {longest:.1f} s"
