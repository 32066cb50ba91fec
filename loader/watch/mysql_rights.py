"""What the watch needs of a MariaDB server, and what is missing."""

from ..errors import LoadError
from ..sources import open_source
from ..sources.mysql import MySQLSource
from ..urls import parse_url
from .binlog import Binlog
from .changes import LogRefusedError

SETTINGS = """
select @@version, @@global.log_bin, @@global.binlog_format, @@global.binlog_row_image
"""
REPLICATES = """
show global status where variable_name in ('Slave_running', 'Slaves_running')
    and value not in ('OFF', '0')
"""


def why_not(url_text: str) -> tuple[str, str]:
    """Why the log of this server cannot be followed, in words that end with what to do; or "".

    Then what could not be checked, or "".
    """
    url = parse_url(url_text)
    source, unchecked = open_source(url_text), ""
    assert isinstance(source, MySQLSource)
    try:
        ((version, on, form, image),) = source.rows(SETTINGS)
        if "mariadb" not in version.lower():
            return "a MySQL server does not say which place of its log a snapshot shows", ""
        place = source.log_position() if on else None
        ((database,),) = source.rows("select database()")
        unlogged = _is_left_out(source, database)
        ((passes_on,),) = source.rows("select @@global.log_slave_updates")
        hears_nothing = int(passes_on) == 0 and bool(source.rows(REPLICATES))
    finally:
        source.close()
    if place is None:
        return "the server writes no log: set log_bin and binlog_format=ROW, and restart it", ""
    if form != "ROW":
        return f"the server's binlog_format is {form}: set global binlog_format = 'ROW'", ""
    if image != "FULL":
        return f"the server's binlog_row_image is {image}: set global binlog_row_image = 'FULL'", ""
    if unlogged:
        return (
            "the server's binlog_do_db or binlog_ignore_db leaves the database out of its log",
            "",
        )
    if hears_nothing:
        return (
            "the server is a replica that does not log what it gets: set log_slave_updates, and"
            " restart it, or watch the server that it replicates",
            "",
        )
    if unlogged is None:
        unchecked = (
            ", but whether binlog_do_db leaves the database out was not checked: grant binlog"
            f" monitor on *.* to {url.user}"
        )
    log = Binlog(url, *place)
    try:
        next(iter(log.events()), None)
    except LogRefusedError:
        return (
            f"the user {url.user} may not read the server's log: grant replication slave on *.* to"
            f" {url.user}",
            "",
        )
    finally:
        log.close()
    return "", unchecked


def _is_left_out(source: MySQLSource, database: str) -> bool | None:
    """Whether the server logs nothing of a database; None where the user may not ask."""
    try:
        ((_, _, only, without, *_),) = source.rows("show master status")
    except (LoadError, ValueError):
        return None
    return (bool(only) and database not in only.split(",")) or database in without.split(",")
