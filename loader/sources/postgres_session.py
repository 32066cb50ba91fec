"""What a PostgreSQL session must be so that it shows every row, and each value in one spelling."""

from collections.abc import Iterable

import psycopg

from ..dialects.postgres import SETTINGS, server_alive
from ..errors import LoadError

# What changes which rows or values come back, or ends a long load, whatever the server, the
# database or the role say. Not every version has all of these.
SESSION = {
    # A query that a policy would cut fails instead.
    "row_security": "off",
    # The result of an index scan is not cut.
    "gin_fuzzy_search_limit": "0",
    # A damaged page is an error, not an empty page. Only a superuser can have changed these.
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "restrict_nonsystem_relation_kind": "",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    # How values and names of types are spelled.
    "intervalstyle": "iso_8601",
    "quote_all_identifiers": "off",
    "xmlbinary": "base64",
    # No patience ends a load: the warehouse may be slow.
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}

# Only those that the server has and that are otherwise, as some need a right to be set at all.
SET = """
select set_config(s.name, w.value, true)
from pg_settings as s
inner join unnest(%s::text [], %s::text []) as w (name, value) on lower(s.name) = w.name
where s.setting <> w.value
"""

# What the role, not the shop's database, says about the values of these settings.
OF_THE_ROLE = """
select name from pg_settings where name = any(%s) and source in ('user', 'database user')
"""


def settle(connection: psycopg.Connection, schema: str) -> None:
    """Give the transaction its settings. Raises psycopg.Error that names one that is refused."""
    # First, because the others take longer.
    connection.execute("set local statement_timeout = 0")
    for setting in SETTINGS:
        connection.execute(f"set local {setting}".encode())
    session = SESSION | server_alive()
    connection.execute(SET, [list(session), list(session.values())])
    # Names of types, and functions that name no schema, are those of the shop.
    path = f"{psycopg.sql.Identifier(schema).as_string(connection)}, public"
    connection.execute("select set_config('search_path', %s, true)", [path])


def refuse_settings_of_the_role(
    connection: psycopg.Connection, names: Iterable[str], user: str | None
) -> None:
    """Raise for settings that only the role has and that values depend on.

    Nobody can say which value the shop's own programs have.
    """
    found = connection.execute(OF_THE_ROLE, [list(names)]).fetchall()
    if found:
        named = ", ".join(name for (name,) in found)
        raise LoadError(
            f"The role {user} has its own {named}, on which values depend that are to be loaded:"
            f" reset it (alter role {user} reset {found[0][0]}), or load with another role."
        )
