"""PostgreSQL's lock for one run at a time: an advisory lock of a session of its own."""

import contextlib
from collections.abc import Callable

import psycopg

from ..dialects.postgres import said
from ..dialects.standard import literal
from ..errors import LoadError


class SessionLock:
    """The session has the lock until it ends, also by the death of its process."""

    def __init__(self, connect: Callable[[], psycopg.Connection], schema: str) -> None:
        self._connect = connect
        self._key = f"hashtext('classicmodels run'), hashtext({literal(schema)})"
        self._session: psycopg.Connection | None = None
        self._who, self._has_it = "", False

    def take(self, who: str) -> str | None:
        """Take the lock, or say who has it. Raises LoadError."""
        self._who, self._has_it = who, False
        try:
            holder = self._take(who)
            self._has_it = holder is None
            return holder
        except psycopg.Error as error:
            raise LoadError(f"The lock of the warehouse cannot be taken: {said(error)}.") from None

    def take_again(self) -> str | None:
        """Where the session was lost, and the lock with it: take it, or say who has it now."""
        if not self._who:
            return None
        if self._has_it and self._session is not None:
            with contextlib.suppress(psycopg.Error):
                self._session.execute("select 1")
                return None
            self._session = None
        return self.take(self._who)

    def _take(self, who: str) -> str | None:
        if self._session is None or self._session.closed:
            self._session = self._connect()
            self._session.autocommit = True
            # A limit of the role must not end the session while a build goes on.
            self._session.execute(
                "select set_config(name, '0', false) from pg_settings"
                " where name = 'idle_session_timeout'"
            )
        # Shown to every user of the server, as the rest of pg_stat_activity is not.
        self._session.execute(f"set application_name = {literal(who)}".encode())
        if self._ask(f"select pg_try_advisory_lock({self._key})") == "True":
            return None
        first, second = self._key.split(", ")
        return self._ask(
            "select a.application_name from pg_locks as l"
            " inner join pg_stat_activity as a on l.pid = a.pid"
            " inner join pg_database as d on l.database = d.oid"
            " where l.locktype = 'advisory' and l.granted and d.datname = current_database()"
            f" and l.classid::bigint = {first}::bigint & 4294967295"
            f" and l.objid::bigint = {second}::bigint & 4294967295 and l.objsubid = 2"
        )

    def _ask(self, sql: str) -> str:
        assert self._session is not None
        row = self._session.execute(sql.encode()).fetchone()
        return str(row[0]) if row else "another run"

    def release(self) -> None:
        """End the session, and with it the lock."""
        if self._session is not None:
            self._session.close()
