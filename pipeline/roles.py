"""Who may see what in the warehouse that TARGET names: what `make roles` runs.

    python scripts/roles.py          prints the statements that give the roles their rights
    python scripts/roles.py --apply  runs them, all or none of them

There are four roles. The loader writes the raw schema. The transformer reads it and builds all
other schemas. The reporter reads the columns of the marts that are not personal. The privileged
reporter reads all columns of the marts. dbt_project.yml has their names. They cannot log in and
have no password: people create their own users and grant them a role (docs/operations.md). A second
run changes nothing. Exit status: 0 done, 1 not.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loader.audit import RUN_TABLES
from loader.destinations.postgres import PostgresDestination
from loader.destinations.postgres_views import functions
from loader.dialects.standard import literal, quote
from loader.errors import LoadError
from pipeline.project import PROJECT, WORKING, own_schemas, project_settings, schema_name
from pipeline.target import chosen_warehouse
from pipeline.warehouse import Ask, ProfileError, Warehouse

RUNS_ARE_THERE = (
    "select 1 from information_schema.tables where table_schema = {raw}"
    " and table_name = '_run_days'"
)


class RolesError(RuntimeError):
    """The statements cannot be made or run; the text says why and what to do."""


@dataclass(frozen=True)
class Names:
    """The names of the project's roles and schemas."""

    loader: str
    transformer: str
    reporter: str
    privileged_reporter: str
    raw: str
    marts: str
    others: tuple[str, ...]  # the schemas that dbt builds beside the marts

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles."""
        return self.loader, self.transformer, self.reporter, self.privileged_reporter

    @property
    def built(self) -> tuple[str, ...]:
        """The schemas that dbt builds."""
        return (*self.others, self.marts)


def names(project: Path, default_schema: str, kind: str) -> Names:
    """The names in dbt_project.yml, for a target with this schema in a warehouse of this kind."""
    variables = project_settings(project)["vars"]
    raw = str(variables["raw_schema"])
    marts = schema_name(default_schema, "marts")
    others = own_schemas(project, default_schema) - {raw, marts}
    if kind == "postgres":
        others.add(schema_name(default_schema, WORKING))
    return Names(**variables["roles"], raw=raw, marts=marts, others=tuple(sorted(others)))


def postgres_statements(ask: Ask, known: Names) -> Iterator[str]:
    """The statements that this PostgreSQL database still needs."""
    loader, transformer = quote(known.loader), quote(known.transformer)
    reporters = f"{quote(known.reporter)}, {quote(known.privileged_reporter)}"
    raw, marts = quote(known.raw), quote(known.marts)
    there = {name for (name,) in ask("select rolname from pg_roles")}
    for role in known.roles:
        if role not in there:
            yield f"create role {quote(role)} nologin"

    # Non-superusers must join the roles temporarily, to act for them.
    ((database, is_superuser),) = ask(
        "select current_database(), rolsuper from pg_roles where rolname = current_user"
    )
    ours = {name for (name,) in ask("select rolname from pg_roles where pg_has_role(oid, 'usage')")}
    joined = [] if is_superuser else [r for r in (known.loader, known.transformer) if r not in ours]
    for role in joined:
        yield f"grant {quote(role)} to current_user"

    yield from _owned(ask, known)
    yield f"grant temporary on database {quote(database)} to {loader}, {transformer}"
    yield f"revoke temporary on database {quote(database)} from public"
    if ask("select 1 from pg_namespace where nspname = 'public'"):
        yield "revoke create on schema public from public"

    yield f"grant usage on schema {raw} to {transformer}"
    yield f"grant select on all tables in schema {raw} to {transformer}"
    yield (
        f"alter default privileges for role {loader} in schema {raw}"
        f" grant select on tables to {transformer}"
    )
    # Who builds without a load records that too.
    for table, columns in RUN_TABLES.items():
        name = f"{raw}.{quote(table)}"
        yield f"create table if not exists {name} ({PostgresDestination('').defined(columns)})"
        yield f"alter table {name} owner to {loader}"
        yield f"grant select, insert, update, delete on {name} to {transformer}"
    # A function's owner needs the right to create it in its schema.
    yield f"grant create on schema {raw} to {transformer}"
    for function, definition in functions(known.raw).items():
        yield definition
        yield f"alter function {function} owner to {transformer}"
        yield f"revoke all on function {function} from public"
        yield f"grant execute on function {function} to {loader}"
    yield f"revoke create on schema {raw} from {transformer}"
    yield f"grant usage on schema {marts} to {reporters}"
    for role in joined:
        yield f"revoke {quote(role)} from current_user"


def _owned(ask: Ask, known: Names) -> Iterator[str]:
    """Create the schemas, or take them and their tables from another owner."""
    wanted = {known.raw: known.loader} | dict.fromkeys(known.built, known.transformer)
    listed = ", ".join(map(literal, wanted))
    owners: dict[str, str] = dict(
        ask(
            "select nspname, pg_get_userbyid(nspowner) from pg_namespace"
            f" where nspname in ({listed})"
        )
    )
    for schema, role in wanted.items():
        if schema not in owners:
            yield f"create schema {quote(schema)} authorization {quote(role)}"
        elif owners[schema] != role:
            yield f"alter schema {quote(schema)} owner to {quote(role)}"
    for schema, table, owner in ask(
        "select n.nspname, c.relname, pg_get_userbyid(c.relowner) from pg_class as c"
        " inner join pg_namespace as n on c.relnamespace = n.oid"
        f" where n.nspname in ({listed}) and c.relkind in ('r', 'p', 'v', 'm', 'f')"
        " order by n.nspname, c.relname"
    ):
        if owner != wanted[schema]:
            name = f"{quote(schema)}.{quote(table)}"
            yield f"alter table {name} owner to {quote(wanted[schema])}"


def redshift_statements(ask: Ask, known: Names) -> Iterator[str]:
    """The statements that this Amazon Redshift database still needs; roles own nothing there."""

    def role(name: str) -> str:
        return f"role {quote(name)}"

    there = {name for (name,) in ask("select role_name from svv_roles")}
    ((database,),) = ask("select current_database()")
    for name in known.roles:
        if name not in there:
            yield f"create role {quote(name)}"
    loader, transformer = role(known.loader), role(known.transformer)
    for schema, writer in ((known.raw, loader), *((built, transformer) for built in known.built)):
        yield f"create schema if not exists {quote(schema)}"
        yield f"grant usage, create on schema {quote(schema)} to {writer}"
    yield f"grant temporary on database {quote(database)} to {loader}, {transformer}"
    yield f"revoke temporary on database {quote(database)} from public"
    yield "revoke create on schema public from public"
    yield f"grant usage on schema {quote(known.raw)} to {transformer}"
    # This includes future tables, whoever creates them.
    yield f"grant select for tables in schema {quote(known.raw)} to {transformer}"
    # Who builds without a load records that too, once a load has made the tables.
    if ask(RUNS_ARE_THERE.format(raw=literal(known.raw))):
        tables = ", ".join(f"{quote(known.raw)}.{quote(table)}" for table in RUN_TABLES)
        yield f"grant insert, update, delete on table {tables} to {transformer}"
    yield (
        f"grant usage on schema {quote(known.marts)} to"
        f" {role(known.reporter)}, {role(known.privileged_reporter)}"
    )


STATEMENTS = {"postgres": postgres_statements, "redshift": redshift_statements}


def message_of(error: Exception) -> str:
    """The message of a driver's error, in one line."""
    first = error.args[0] if error.args else error
    text = str(first.get("M", first)) if isinstance(first, dict) else str(first)
    return text.strip().splitlines()[0].rstrip(".")


def needed(warehouse: Warehouse, known: Names, *, apply: bool) -> list[str]:
    """The statements that the warehouse needs; with `apply` they run too. Raises RolesError."""
    where, doing = f"{warehouse.kind} {warehouse.place}", ""
    try:
        with closing(warehouse.connect()) as connection:
            cursor = connection.cursor()

            def ask(sql: str) -> list[tuple[Any, ...]]:
                cursor.execute(sql)
                return [tuple(row) for row in cursor.fetchall()]

            statements = list(STATEMENTS[warehouse.kind](ask, known))
            for doing in statements if apply else ():
                cursor.execute(doing)
            connection.commit()
    except Exception as error:  # each driver has its own errors
        if not doing:
            raise RolesError(f"{where} cannot be asked: {message_of(error)}.") from None
        raise RolesError(
            f"{where} refused `{doing.partition(' as $')[0]}`: {message_of(error)}. Nothing was"
            " changed: run it as an administrator, who may create roles and owns the database and"
            " what is in it, or as a superuser; or give the printed statements to one."
        ) from None
    return statements


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the statements or run them; a user's mistake is one sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--apply", action="store_true", help="run the statements")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    try:
        warehouse = chosen_warehouse()
        if warehouse.kind not in STATEMENTS:
            raise RolesError(
                f"DuckDB has no roles: everybody who may read {warehouse.place} sees all of it."
                " Give the file to those who may (chmod 640), let them open it read-only, or take"
                " TARGET=postgres or TARGET=redshift for a warehouse with roles."
            )
        known = names(PROJECT, warehouse.schema, warehouse.kind)
        statements = needed(warehouse, known, apply=options.apply)
    except (LoadError, ProfileError, RolesError) as error:
        print(f"make roles: {error}", file=sys.stderr)
        return 1
    if options.apply:
        print(
            f"{warehouse.kind} {warehouse.place}: {', '.join(known.roles)} have their rights"
            f" ({len(statements)} statements). The next dbt build gives the reporters the marts."
        )
    else:
        print(f"-- For {warehouse.kind} {warehouse.place}; make roles APPLY=1 runs this.\nbegin;")
        print("".join(f"{statement};\n" for statement in statements) + "commit;")
    return 0
