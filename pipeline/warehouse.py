"""The one module that knows how the warehouses differ; pipeline.target knows which is meant."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from loader import LoadError, UsageError
from loader.destinations import Destination, open_destination
from loader.destinations.redshift.settings import driver_parameters, redshift_destination
from pipeline.postgres_session import session_settings
from pipeline.profile import Output
from pipeline.project import MADE, PROJECT, schema_name

if TYPE_CHECKING:
    from loader.destinations.duckdb_kept import KeptFile

# dbt names a DuckDB database after its file; DuckDB reserves these names.
DUCKDB_RESERVES = ("main", "system", "temp")

Ask = Callable[[str], list[tuple[Any, ...]]]


class ProfileError(RuntimeError):
    """No usable profile or target; the text says what to do."""


class WarehouseError(RuntimeError):
    """The warehouse cannot be read; the text says why."""


@dataclass(frozen=True)
class Warehouse(ABC):
    """One output of the profile: the warehouse that dbt would open.

    `name` is the output's name and `schema` its own schema; the names of the project's schemas
    depend on it. `connection` is what the driver needs. `options` are the options with which a dbt
    command uses this output; none for the default output.
    """

    kind: ClassVar[str]
    # The environment variable that names another warehouse of this kind.
    variable: ClassVar[str]
    # Whether a build works in a schema that dbt by itself does not see.
    works_beside: ClassVar[bool] = False
    # Statements that begin a transaction where the driver does not.
    _begin: ClassVar[tuple[str, ...]] = ()
    # Queries whose answers say what is in {schemas}, without {record} and without any row.
    shape: ClassVar[tuple[str, ...]] = (
        "select table_schema, table_name, column_name, data_type, ordinal_position"
        " from information_schema.columns"
        " where table_schema in ({schemas}) and table_name <> {record} order by 1, 2, 5, 3",
    )
    # What SQLAlchemy calls this kind with its driver; empty where Superset cannot read it.
    dialect: ClassVar[str] = ""

    name: str
    schema: str
    connection: dict[str, Any] = field(repr=False)
    options: tuple[str, ...] = ()
    # What the profile says of how dbt works in it.
    behaviour: str = field(default="", repr=False)

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the warehouse is, for people: a path, or host, port and database."""

    @abstractmethod
    def connect(self) -> Any:
        """A connection of the driver that can write. Raises the driver's errors."""

    @property
    @abstractmethod
    def _errors(self) -> tuple[type[Exception], ...]:
        """What the driver raises, and the loader's destination."""

    @abstractmethod
    def _open(self) -> AbstractContextManager[Ask]:
        """How to ask queries that all see one moment of the warehouse."""

    @classmethod
    @abstractmethod
    def connection_of(cls, output: Output, schemas: set[str]) -> dict[str, Any]:
        """What the driver needs, from an output of this kind. Raises ProfileError.

        `schemas` are those that the project writes to.
        """

    @property
    def file(self) -> str:
        """The file that dbt has to open although the profile names another; else empty."""
        return ""

    @property
    def marts(self) -> str:
        """The schema that people read."""
        return schema_name(self.schema, "marts")

    @property
    def is_made_here(self) -> bool:
        """Whether `make clean` removes this warehouse."""
        return False

    @property
    def label(self) -> str:
        """The warehouse for people: the output's name and the place."""
        return f"{self.name}: {self.place}"

    @property
    def made(self) -> Path:
        """The folder of what builds of this warehouse leave: its pages, and what these are made of.

        Only the warehouse of a plain `make build` has it directly in target/.
        """
        if self.is_made_here and self.schema == "main":
            return MADE
        word = re.sub(r"\W+", "-", Path(self.place).name).strip("-")
        mark = hashlib.sha256(f"{self.kind} {self._place_anywhere} {self.schema}".encode())
        return MADE / f"{word}-{mark.hexdigest()[:8]}"

    @property
    def _place_anywhere(self) -> str:
        """The place, the same from each folder."""
        return self.place

    def destination(self, raw_schema: str) -> Destination:
        """Where the loader writes. Raises UsageError."""
        return open_destination(self.kind, raw_schema, self.connection)

    def kept_open(self) -> Self:
        """The same warehouse for a watch; a file stays open from batch to batch then."""
        return self

    def let_go(self) -> None:  # noqa: B027
        """Close that file, so that another process can open it."""

    def for_reader(self, environment: Mapping[str, str]) -> Self:
        """The same warehouse as the reader of the dashboards opens it, from any folder."""
        return self

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query; none where the warehouse or a table is missing or unreadable."""
        with contextlib.suppress(WarehouseError), self.reading() as ask:
            return ask(sql)
        return []

    @contextlib.contextmanager
    def reading(self) -> Iterator[Ask]:
        """How to ask several queries, which all see one moment of the warehouse.

        Raises WarehouseError where the warehouse is missing or refuses a query.
        """
        try:
            with self._open() as ask:
                yield ask
        except self._errors as error:
            raise self._error("read", error) from None

    def execute(self, statements: Sequence[str]) -> None:
        """Run statements in one transaction. Raises WarehouseError."""
        try:
            connection = self.connect()
            try:
                cursor = connection.cursor()
                for statement in (*self._begin, *statements, "commit"):
                    cursor.execute(statement)
            finally:
                connection.close()
        except Exception as error:  # each driver has its own
            raise self._error("written", error) from None

    def _error(self, done: str, error: Exception) -> WarehouseError:
        said = str(error).strip().partition("\n")[0].rstrip(".!")
        return WarehouseError(f"The warehouse {self.place} cannot be {done}: {said}.")


class DuckDB(Warehouse):
    """A DuckDB file."""

    kind = "duckdb"
    _begin = ("begin",)
    variable = "DUCKDB_PATH"
    dialect = "duckdb"

    @property
    def place(self) -> str:
        return str(self.connection["path"])

    @property
    def file(self) -> str:
        """The file that is read and written: a build's working copy, if there is one."""
        return str(self.connection.get("copy", self.place))

    def copied_to(self, file: Path) -> Self:
        """The same warehouse, for a build that works on a copy of its file."""
        return dataclasses.replace(self, connection={**self.connection, "copy": str(file)})

    def kept_open(self) -> Self:
        from loader.destinations.duckdb_kept import KeptFile  # imports the driver

        kept = KeptFile(self.file, self.place, self._config)
        return dataclasses.replace(self, connection={**self.connection, "kept": kept})

    def let_go(self) -> None:
        if self._kept:
            self._kept.release()

    @property
    def _kept(self) -> KeptFile | None:
        kept: KeptFile | None = self.connection.get("kept")
        return kept

    @property
    def _config(self) -> dict[str, Any]:
        """What dbt opens the file with; all of a process must open it with the same."""
        config: dict[str, Any] = self.connection.get("config", {})
        return config

    def destination(self, raw_schema: str) -> Destination:
        known = {"path": self.file, "place": self.place, "kept": self._kept}
        return open_destination(self.kind, raw_schema, known)

    @property
    def is_made_here(self) -> bool:
        return self._place_anywhere == str(PROJECT / "warehouse.duckdb")

    @property
    def _place_anywhere(self) -> str:
        return str(Path(self.place).resolve())

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        import duckdb  # each driver only where it is needed

        return (duckdb.Error, LoadError)

    def connect(self) -> Any:
        import duckdb

        return duckdb.connect(self.file, config=self._config)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Ask]:
        if not Path(self.file).exists():
            raise WarehouseError(f"There is no warehouse {self.place}.")
        import duckdb

        if self._kept and self._kept.is_open:
            try:
                with self._kept.connect() as kept:
                    kept.execute("begin transaction read only")
                    yield lambda sql: kept.execute(sql).fetchall()
            except duckdb.Error:
                # After some errors DuckDB refuses everything, until the file is opened again.
                self._kept.release()
                raise
            return
        # Nobody can write while the file is open.
        with duckdb.connect(self.file, read_only=True) as file:
            yield lambda sql: file.execute(sql).fetchall()

    @classmethod
    def connection_of(cls, output: Output, schemas: set[str]) -> dict[str, Any]:
        _refuse_unusable_file(output, schemas)
        config = output.settings.get("config_options")
        return {"path": output.settings["path"]} | ({"config": config} if config else {})

    def for_reader(self, environment: Mapping[str, str]) -> Self:
        return dataclasses.replace(self, connection={"path": str(Path(self.place).resolve())})


class Postgres(Warehouse):
    """A PostgreSQL database."""

    kind = "postgres"
    variable = "PGDATABASE"
    works_beside = True
    shape = (
        *Warehouse.shape,
        "select n.nspname, c.relname, cast(c.relacl as text), cast(n.nspacl as text)"
        " from pg_class as c inner join pg_namespace as n on c.relnamespace = n.oid"
        " where n.nspname in ({schemas}) and c.relname <> {record} and c.relkind in ('r', 'v')"
        " order by 1, 2",
    )
    dialect = "postgresql+psycopg2"

    @property
    def place(self) -> str:
        return "{host}:{port}/{dbname}".format_map(self.connection)

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        import psycopg

        return (psycopg.Error, LoadError)

    def connect(self) -> Any:
        import psycopg

        connection = psycopg.connect(**self.connection, connect_timeout=10, autocommit=True)
        try:
            for setting in session_settings(self.kind):
                connection.execute(setting.encode())
        except psycopg.Error:
            connection.close()
            raise
        connection.autocommit = False
        return connection

    @contextlib.contextmanager
    def _open(self) -> Iterator[Ask]:
        from psycopg import IsolationLevel

        with self.connect() as postgres:
            postgres.read_only = True
            postgres.isolation_level = IsolationLevel.REPEATABLE_READ
            yield lambda sql: postgres.execute(sql.encode()).fetchall()

    @classmethod
    def connection_of(cls, output: Output, schemas: set[str]) -> dict[str, Any]:
        names = ("host", "port", "user", "password", "sslmode", "sslcert", "sslkey", "sslrootcert")
        found = {name: output.settings[name] for name in names} | {"dbname": output.database}
        return {name: value for name, value in found.items() if value is not None}

    def for_reader(self, environment: Mapping[str, str]) -> Self:
        given = {"user": environment.get("BI_PGUSER"), "password": environment.get("BI_PGPASSWORD")}
        reader = {name: value for name, value in given.items() if value}
        return dataclasses.replace(self, connection={**self.connection, **reader})


class Redshift(Warehouse):
    """An Amazon Redshift database."""

    kind = "redshift"
    variable = "REDSHIFT_DATABASE"

    @property
    def place(self) -> str:
        return "{host}:{port}/{database}".format_map(self.connection)

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        return (LoadError,)

    def connect(self) -> Any:
        import redshift_connector

        return redshift_connector.connect(**self.connection)

    def _open(self) -> AbstractContextManager[Ask]:
        return redshift_destination("", self.connection).asking()

    @classmethod
    def connection_of(cls, output: Output, schemas: set[str]) -> dict[str, Any]:
        # The output's fields as the variables from which profiles.example.yml makes them.
        fields = {
            "REDSHIFT_HOST": "host",
            "REDSHIFT_PORT": "port",
            "REDSHIFT_USER": "user",
            "REDSHIFT_PASSWORD": "password",
            "REDSHIFT_METHOD": "method",
            "REDSHIFT_CLUSTER_ID": "cluster_id",
            "REDSHIFT_WORKGROUP": "serverless_work_group",
            "REDSHIFT_SSLMODE": "sslmode",
            "AWS_REGION": "region",
            "AWS_PROFILE": "iam_profile",
        }
        found = {name: output.settings[place] for name, place in fields.items()}
        found["REDSHIFT_DATABASE"] = output.database
        try:
            return driver_parameters({name: str(v) for name, v in found.items() if v})
        except UsageError as error:
            raise ProfileError(str(error)) from None


WAREHOUSES = {warehouse.kind: warehouse for warehouse in (DuckDB, Postgres, Redshift)}


def _refuse_unusable_file(output: Output, schemas: set[str]) -> None:
    """Raise ProfileError for a DuckDB file whose name dbt, the loader and readers cannot all use.

    In a database that has the name of a schema, `marts.orders_obt` can mean either.
    """
    name, path = output.database, output.settings["path"]
    refused = f"{path} cannot be the warehouse, "
    if path == ":memory:" or name.lower() in DUCKDB_RESERVES or set(name) & {*"'\""}:
        raise ProfileError(
            f"{refused}which needs a file whose name has no quotes and is not "
            f"{', '.join(DUCKDB_RESERVES[:-1])} or {DUCKDB_RESERVES[-1]}, which DuckDB reserves: "
            f"set DUCKDB_PATH to another."
        )
    target = Path(path).resolve()
    if Path(path).is_symlink() and target.stem != name:
        raise ProfileError(
            f"{refused}as it is a link to {target}: DuckDB would call it {target.stem}, and dbt"
            f" {name}. Give the link the same name, or set DUCKDB_PATH to the file."
        )
    if name.lower() in {schema.lower() for schema in schemas}:
        raise ProfileError(
            f"{refused}as DuckDB would call it {name}, which is one of its schemas, and names such "
            f"as {name}.table would be ambiguous: set DUCKDB_PATH to another."
        )
