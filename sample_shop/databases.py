"""SQLite, MySQL/MariaDB and PostgreSQL behind one small interface.

SQL is written once, with quoted names and `%s` for values; see `Database`.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import loader.errors
from loader.urls import SourceUrl, parse_url
from sample_shop.generate import Row, Value
from sample_shop.schema import TABLES, Dialect, Table, quoted

CONNECT_SECONDS = 10


class ShopError(Exception):
    """An error for the user: one sentence that says what failed and what to do."""


class UsageError(ShopError):
    """The arguments are wrong, whatever the database holds."""


class Database(ABC):
    """An open connection with a transaction in progress.

    `place` names the database in messages, without user and password.
    """

    dialect: ClassVar[Dialect]
    error: type[Exception]
    place: str

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any."""

    @abstractmethod
    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Add many rows, in the fastest way that needs no file on the server."""

    @abstractmethod
    def table_names(self) -> set[str]:
        """The tables and views that unqualified names can refer to."""

    @abstractmethod
    def commit(self) -> None:
        """End the transaction."""

    @abstractmethod
    def rollback(self) -> str:
        """Undo the transaction as far as the database can; returns the new state, in words."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @abstractmethod
    def begin_load(self) -> None:
        """Switch off slow checks, while rows are written that need none."""

    def shop_tables(self) -> list[str]:
        """The shop's tables that exist."""
        present = self.table_names()
        return [name for name in TABLES if name in present]


class Sqlite(Database):
    """A file, written in one transaction."""

    dialect = "sqlite"
    error = sqlite3.Error

    def __init__(self, source: SourceUrl, create: bool) -> None:
        path = Path(source.database)
        self.place = place_of(source)
        if not create and not path.is_file():
            raise ShopError(f"There is no file {path}; make a shop there first, without --events.")
        if not path.absolute().parent.is_dir():
            raise ShopError(f"Cannot make {path}: the directory does not exist; make it first.")
        self.connection = sqlite3.connect(path, timeout=CONNECT_SECONDS, isolation_level=None)
        # While a shop is made, its rows need no checking.
        self.connection.execute(f"pragma foreign_keys = {'off' if create else 'on'}")
        self.connection.execute("begin immediate")

    def begin_load(self) -> None:
        pass

    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql.replace("%s", "?"), values).fetchall()

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(table.columns))
        self.connection.executemany(f'insert into "{table.name}" values ({marks})', rows)

    def table_names(self) -> set[str]:
        return {name for (name,) in self.execute("select name from sqlite_master")}

    def commit(self) -> None:
        self.connection.execute("commit")

    def rollback(self) -> str:
        if self.connection.in_transaction:
            self.connection.execute("rollback")
        return "nothing changed"

    def close(self) -> None:
        self.connection.close()


class MySql(Database):
    """MySQL or MariaDB, fed with long `insert` statements.

    MySQL commits when tables are created or dropped, so `rollback` drops an unfinished shop.
    """

    dialect = "mysql"

    def __init__(self, source: SourceUrl, create: bool) -> None:
        import pymysql

        self.error = pymysql.Error
        self.place = place_of(source)
        self.escape: Callable[[str], str] = pymysql.converters.escape_string
        self.loading = False
        self.connection = pymysql.connect(
            host=source.host or "localhost",
            port=source.port or 3306,
            user=source.user,
            password=source.password or "",
            database=source.database,
            charset="utf8mb4",
            unix_socket=source.options.get("unix_socket"),
            connect_timeout=CONNECT_SECONDS,
        )
        self.cursor = self.connection.cursor()
        # Names are quoted as in standard SQL, and a value that is too long is an error.
        self.execute("set session sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES'")

    def begin_load(self) -> None:
        self.loading = True
        self.execute("set session unique_checks = 0, foreign_key_checks = 0")

    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        self.cursor.execute(sql, values or None)
        return list(self.cursor.fetchall())

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        values = ",".join(f"({','.join(map(self.literal, row))})" for row in rows)
        self.cursor.execute(f'insert into "{table.name}" values {values}')
        # Only dropping the tables undoes this, so a long undo log is of no use.
        self.connection.commit()

    def literal(self, value: Value) -> str:
        match value:
            case int():
                return str(value)
            case str():
                return f"'{self.escape(value)}'"
            case bytes():
                return f"x'{value.hex()}'"
            case None:
                return "null"

    def table_names(self) -> set[str]:
        sql = "select table_name from information_schema.tables where table_schema = database()"
        return {name for (name,) in self.execute(sql)}

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> str:
        if not self.loading:
            if self.connection.open:
                self.connection.rollback()
            return "nothing changed"
        try:
            for name in reversed(TABLES):
                self.execute(f'drop table if exists "{name}"')
        except self.error:
            return "a part of the shop is left there"
        return "its tables are dropped again"

    def close(self) -> None:
        if self.connection.open:
            self.connection.close()


class PostgreSql(Database):
    """PostgreSQL, fed by COPY."""

    dialect = "postgresql"

    def __init__(self, source: SourceUrl, create: bool) -> None:
        import psycopg

        self.error = psycopg.Error
        self.place = place_of(source)
        # What the URL leaves out comes from libpq's environment variables.
        settings = {
            "host": source.host or None,
            "port": source.port,
            "user": source.user,
            "password": source.password,
            "dbname": source.database or None,
            "connect_timeout": CONNECT_SECONDS,
            **source.options,
            "client_encoding": "utf8",
        }
        schema = settings.pop("schema", None)
        self.connection = psycopg.connect(psycopg.conninfo.make_conninfo("", **settings))
        if schema:
            self.execute(f"set search_path to {quoted(str(schema))}")

    def begin_load(self) -> None:
        pass

    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(sql.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        sql = f'copy "{table.name}" ({table.column_list}) from stdin'
        with self.connection.cursor().copy(sql.encode()) as copy:
            copy.write("".join(["\t".join(map(copy_text, row)) + "\n" for row in rows]))

    def table_names(self) -> set[str]:
        sql = "select relname from pg_class where relkind in ('r', 'v', 'p', 'f', 'm')"
        return {name for (name,) in self.execute(f"{sql} and pg_table_is_visible(oid)")}

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> str:
        if not self.connection.closed:
            self.connection.rollback()
        return "nothing changed"

    def close(self) -> None:
        self.connection.close()


DATABASES: dict[str, type[Sqlite] | type[MySql] | type[PostgreSql]] = {
    "sqlite": Sqlite,
    "mysql": MySql,
    "mariadb": MySql,
    "postgresql": PostgreSql,
    "postgres": PostgreSql,
}

COPY_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def copy_text(value: Value) -> str:
    """A value in the text format of PostgreSQL's COPY."""
    match value:
        case int():
            return str(value)
        case str():
            return value.translate(COPY_ESCAPES)
        case bytes():
            return rf"\\x{value.hex()}"
        case None:
            return r"\N"


@contextmanager
def session(url: str, *, create: bool) -> Iterator[Database]:
    """A connection to `url`; its changes are committed at the end, or undone on any error.

    `create` allows an SQLite file to be made. Raises ShopError in place of the drivers' errors.
    """
    database = connect(url, create)
    try:
        yield database
        database.commit()
    except BaseException as error:
        state = database.rollback()
        if isinstance(error, database.error):
            raise ShopError(f"{sentence(error)} (in {database.place}; {state}).") from error
        raise
    finally:
        database.close()


def connect(url: str, create: bool) -> Database:
    """Open `url`.

    Raises UsageError when the URL is wrong, ShopError when no server answers.
    """
    source = read_url(url)
    try:
        return DATABASES[source.scheme](source, create)
    except ShopError:
        raise
    except Exception as error:
        check = (
            "the path, and whether you may write there"
            if source.scheme == "sqlite"
            else "host, port, user, password, database and options in the URL"
        )
        raise ShopError(
            f"Cannot open {place_of(source)}: {sentence(error)}; check {check}."
        ) from error


def read_url(url: str) -> SourceUrl:
    """Split `url` as the loader does, with the checks that need no connection."""
    try:
        source = parse_url(url)
    except loader.errors.UsageError as error:
        raise UsageError(str(error)) from error
    if source.scheme not in DATABASES:
        known = ", ".join(f"{scheme}://" for scheme in DATABASES)
        raise UsageError(f"{source.scheme}:// is not a database for a shop; use {known}.")
    if source.scheme != "sqlite" and "@" in source.database + "".join(source.options):
        raise UsageError(
            f"Cannot tell where the host of the {source.scheme}:// URL begins: in user and "
            "password write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23."
        )
    if DATABASES[source.scheme] is MySql and not source.database:
        raise UsageError(f"The {source.scheme}:// URL names no database: add /database at its end.")
    return source


def place_of(source: SourceUrl) -> str:
    """The database in a message: without user and password."""
    if source.scheme == "sqlite":
        return f"the SQLite file {source.database}"
    return f"{source.scheme}://{source.address}/{source.database}"


def sentence(error: BaseException) -> str:
    """The first line of the driver's message, without a full stop."""
    words = str(error.args[-1] if error.args else error).strip()
    return words.partition("\n")[0].rstrip(".") or type(error).__name__
