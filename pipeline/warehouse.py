"""Which warehouse a dbt target means: the profile that dbt finds, and the connection in it."""

from __future__ import annotations

import contextlib
import os
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import yaml
from dbt.config.profile import read_profile
from dbt.config.runtime import load_profile
from dbt.flags import set_from_args
from dbt_common.context import set_invocation_context
from dbt_common.exceptions import DbtBaseException

from loader import LoadError, UsageError
from loader.config import TARGETS
from loader.destinations.redshift.settings import (
    MORE_PACKAGES,
    driver_parameters,
    redshift_destination,
)

PROFILE = "classicmodels"
EXAMPLE = "profiles.example.yml"
# dbt calls a DuckDB database after its file; DuckDB gives these names to others.
DUCKDB_KEEPS = ("main", "system", "temp")


class ProfileError(RuntimeError):
    """No usable profile or target; the text says what to do."""


class WarehouseError(RuntimeError):
    """The warehouse cannot be read; the text says why."""


@dataclass(frozen=True)
class Target:
    """One output of the profile and the connection that dbt would open.

    `schema` is its default schema, after which those of the project are called; `options` are what
    a dbt command needs on its line to use it: nothing for the default output.
    """

    name: str
    kind: str
    schema: str
    connection: dict[str, Any] = field(repr=False)
    options: tuple[str, ...] = ()

    @property
    def marts(self) -> str:
        """The schema that others read."""
        return schema_name(self.schema, "marts")

    @property
    def place(self) -> str:
        """Where the warehouse lies, for people: a path, or host, port and database."""
        if self.kind == "duckdb":
            return str(self.connection["path"])
        database = self.connection["database" if self.kind == "redshift" else "dbname"]
        return f"{self.connection['host']}:{self.connection['port']}/{database}"

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query; none where the warehouse or a table is not there or not readable."""
        with contextlib.suppress(WarehouseError), self.reading() as ask:
            return ask(sql)
        return []

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
        """How to ask several queries, which all see one moment of the warehouse.

        Raises WarehouseError where it is not there, or does not answer.
        """
        try:
            if self.kind == "redshift":
                with redshift_destination("", self.connection).asking() as ask:
                    yield ask
            elif self.kind == "postgres":
                with psycopg.connect(**self.connection, connect_timeout=10) as postgres:
                    postgres.read_only = True
                    postgres.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                    yield lambda sql: postgres.execute(sql.encode()).fetchall()
            elif Path(self.connection["path"]).exists():
                # Nobody can write while it is open.
                with duckdb.connect(self.connection["path"], read_only=True) as warehouse:
                    yield lambda sql: warehouse.execute(sql).fetchall()
            else:
                raise WarehouseError(f"There is no warehouse {self.place}.")
        except (duckdb.Error, psycopg.Error, LoadError) as error:
            said = str(error).strip().partition("\n")[0].rstrip(".")
            raise WarehouseError(f"The warehouse {self.place} does not answer: {said}.") from None


def ensure_profile(project: Path) -> Path:
    """Return the folder of the profiles.yml that dbt will read, made from the example if need be.

    Raises ProfileError when there is a profiles.yml that has no profile of this project.
    """
    chosen = os.environ.get("DBT_PROFILES_DIR")
    if chosen:
        folder = Path(chosen)
    elif (project / "profiles.yml").exists():
        folder = project
    else:
        folder = Path.home() / ".dbt"
    if _has_profile(folder):
        return folder
    if chosen or folder == project:
        raise ProfileError(
            f"{folder / 'profiles.yml'} has no profile named {PROFILE}: "
            f"copy the one in {EXAMPLE} into it."
        )
    fresh = project / "target" / f"profiles.{os.getpid()}.yml"
    fresh.parent.mkdir(exist_ok=True)
    shutil.copyfile(project / EXAMPLE, fresh)
    fresh.rename(project / "profiles.yml")
    return project


def _has_profile(folder: Path) -> bool:
    try:
        return PROFILE in read_profile(str(folder))
    except DbtBaseException as error:
        raise ProfileError(f"{folder / 'profiles.yml'} is not valid YAML: {error}") from error


def resolve_target(project: Path, profiles: Path, name: str | None) -> Target:
    """Read the profile as dbt does and return the output called `name`, or its default.

    Raises ProfileError when there is no such output, or its warehouse is not supported.
    """
    outputs = read_profile(str(profiles))[PROFILE].get("outputs", {})
    if name and name not in outputs:
        example = yaml.safe_load((project / EXAMPLE).read_text("utf-8"))[PROFILE]["outputs"]
        if name in example:
            remedy = f"{EXAMPLE} has it: copy it from there."
        else:
            remedy = f"It has {' and '.join(sorted(outputs))}."
        raise ProfileError(f"TARGET={name} is no output of {profiles / 'profiles.yml'}. {remedy}")
    set_invocation_context(dict(os.environ))
    set_from_args(Namespace(profiles_dir=str(profiles), project_dir=str(project)), None)
    try:
        profile = load_profile(str(project), {})
        is_default = name in (None, profile.target_name)
        if not is_default:
            profile = load_profile(str(project), {}, target_override=name)
    except DbtBaseException as error:
        said = " ".join(str(error).split())
        if "Could not find adapter type redshift" in said:
            said = MORE_PACKAGES
        raise ProfileError(f"{profiles / 'profiles.yml'}: {said}") from error
    credentials = profile.credentials
    if credentials.type not in TARGETS:
        raise ProfileError(
            f"The output {profile.target_name} of {profiles / 'profiles.yml'} is of type "
            f"{credentials.type}; this project loads into {' and '.join(TARGETS)}."
        )
    if credentials.type == "duckdb":
        _refuse_unusable(credentials, own_schemas(project, credentials.schema))
    return Target(
        name=profile.target_name,
        kind=credentials.type,
        schema=credentials.schema,
        connection=_connection(credentials),
        options=() if is_default else ("--target", profile.target_name),
    )


def project_settings(project: Path) -> dict[str, Any]:
    """What dbt_project.yml says."""
    found: dict[str, Any] = yaml.safe_load((project / "dbt_project.yml").read_text("utf-8"))
    return found


def own_schemas(project: Path, default: str) -> set[str]:
    """The schemas that the project writes to, in a target whose schema is `default`."""
    settings = project_settings(project)
    named = {schema_name(default, name) for name in _values(settings, "+schema")}
    return {settings["vars"]["raw_schema"], *named}


def schema_name(default: str, name: str) -> str:
    """What the schema `name` of the project is called in a target whose schema is `default`.

    As the macro generate_schema_name has it.
    """
    return name if default in ("main", "public") else f"{default}_{name}"


def _values(settings: Any, key: str) -> Iterator[str]:
    """Every value of a key in nested settings."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name == key:
                yield value
            else:
                yield from _values(value, key)


def _refuse_unusable(credentials: Any, schemas: set[str]) -> None:
    """Raise ProfileError where dbt, the loader and readers could not all name a DuckDB warehouse.

    In a database that is called as a schema, `marts.orders_obt` can mean either.
    """
    name = credentials.database
    refused = f"{credentials.path} cannot be the warehouse, "
    if credentials.path == ":memory:" or name.lower() in DUCKDB_KEEPS or set(name) & {*"'\""}:
        raise ProfileError(
            f"{refused}which needs a file, with a name that has no quotes and is not "
            f"{', '.join(DUCKDB_KEEPS[:-1])} or {DUCKDB_KEEPS[-1]}, as DuckDB keeps those: set "
            f"DUCKDB_PATH to another."
        )
    if name.lower() in {schema.lower() for schema in schemas}:
        raise ProfileError(
            f"{refused}as DuckDB would call it {name}, which is one of its schemas, and names such "
            f"as {name}.table would be ambiguous: set DUCKDB_PATH to another."
        )


def _redshift_settings(credentials: Any) -> dict[str, str]:
    """An output of type redshift as the variables that profiles.example.yml makes it from."""
    fields = {
        "REDSHIFT_HOST": credentials.host,
        "REDSHIFT_PORT": credentials.port,
        "REDSHIFT_DATABASE": credentials.database,
        "REDSHIFT_USER": credentials.user,
        "REDSHIFT_PASSWORD": credentials.password,
        "REDSHIFT_METHOD": credentials.method,
        "REDSHIFT_CLUSTER_ID": credentials.cluster_id,
        "REDSHIFT_WORKGROUP": credentials.serverless_work_group,
        "REDSHIFT_SSLMODE": credentials.sslmode,
        "AWS_REGION": credentials.region,
        "AWS_PROFILE": credentials.iam_profile,
    }
    return {name: str(value) for name, value in fields.items() if value}


def _connection(credentials: Any) -> dict[str, Any]:
    """What a driver needs to reach the warehouse: a path, or the parameters of its driver."""
    if credentials.type == "duckdb":
        return {"path": credentials.path}
    if credentials.type == "redshift":
        try:
            return driver_parameters(_redshift_settings(credentials))
        except UsageError as error:
            raise ProfileError(str(error)) from None
    names = ("host", "port", "user", "password", "sslmode", "sslcert", "sslkey", "sslrootcert")
    found = {name: getattr(credentials, name) for name in names}
    found["dbname"] = credentials.database
    return {name: value for name, value in found.items() if value is not None}
