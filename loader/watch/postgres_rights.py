"""What the watch needs of a PostgreSQL server, and what is missing."""

import hashlib

from ..sources import open_source
from ..sources.postgres import PostgresSource

PUBLICATION = "loader_watch"
RIGHTS = """
select current_setting('wal_level'), r.rolreplication or r.rolsuper,
    exists (select 1 from pg_publication where pubname = %s),
    has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery()
from pg_roles as r where r.rolname = current_user
"""


def why_not(url_text: str) -> str:
    """Why the log of this server cannot be followed, in words that end with what to do; or ""."""
    source = open_source(url_text)
    assert isinstance(source, PostgresSource)
    try:
        ((level, may, has_publication, may_create, is_standby),) = source.rows(RIGHTS, PUBLICATION)
        encoding = source.rows("show server_encoding")[0][0]
    finally:
        source.close()
    user = source.url.user
    if is_standby:
        return "the server is a standby, which makes no log of its own: watch the one it follows"
    if level != "logical":
        return (
            f"the server's wal_level is {level}: alter system set wal_level = logical; restart it"
        )
    if not may:
        return f"the user {user} may not read the server's log: alter role {user} replication"
    if encoding == "SQL_ASCII":
        return "the database's encoding is SQL_ASCII, so its log has no characters"
    if not has_publication and not may_create:
        return (
            f"the user {user} may not create a publication: let the tables' owner run create"
            f" publication {PUBLICATION} for table (each of them) with"
            " (publish_via_partition_root = true)"
        )
    return ""


def slot_name(warehouse: str) -> str:
    """The slot of one warehouse."""
    digest = hashlib.sha256(warehouse.encode()).hexdigest()
    return f"{PUBLICATION}_{digest[:12]}"
