"""What the watch needs of a MariaDB or MySQL server, and what is missing."""

from ..errors import LoadError
from ..sources import open_source
from ..sources.mysql import MySQLSource
from ..urls import SourceUrl, parse_url
from .binlog import Binlog
from .changes import LogRefusedError
from .mysql_gtids import log_status

SETTINGS = """
select @@version, @@global.log_bin, @@global.binlog_format, @@global.binlog_row_image
"""
REPLICATES = """
show global status where variable_name in ('Slave_running', 'Slaves_running')
    and value not in ('OFF', '0')
"""


MYSQL_SETTINGS = """
show global variables where variable_name in
    ('gtid_mode', 'log_replica_updates', 'log_slave_updates')
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
            return _why_not_mysql(source, url, int(on), form, image), ""
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
    if _is_refused(url, *place):
        return (
            f"the user {url.user} may not read the server's log: grant replication slave on *.* to"
            f" {url.user}",
            "",
        )
    return "", unchecked


def _why_not_mysql(source: MySQLSource, url: SourceUrl, on: int, form: str, image: str) -> str:
    """The same of MySQL, whose snapshots are found in the log by the numbers of transactions."""
    variables = dict(source.rows(MYSQL_SETTINGS))
    if not on or form != "ROW" or image != "FULL":
        return "the server needs log_bin, binlog_format=ROW and binlog_row_image=FULL"
    if variables.get("gtid_mode") != "ON":
        return (
            "the server numbers no transactions, by which a snapshot is found in its log: set"
            " gtid_mode=ON and enforce_gtid_consistency=ON"
        )
    if "OFF" in (variables.get("log_replica_updates"), variables.get("log_slave_updates")):
        return "the server does not log what it gets as a replica: set log_replica_updates"
    grant = f"grant replication slave, replication client on *.* to {url.user}"
    ((database,),) = source.rows("select database()")
    left_out = _is_left_out(source, database)
    if left_out is None:
        return f"the user {url.user} may not see where the server's log is: {grant}"
    if left_out:
        return "the server's binlog_do_db or binlog_ignore_db leaves the database out of its log"
    file, place, *_ = log_status(source.rows)
    if _is_refused(url, file, place):
        return f"the user {url.user} may not read the server's log: {grant}"
    return ""


def _is_refused(url: SourceUrl, file: str, place: int) -> bool:
    """Whether the user may not read the log from there."""
    log = Binlog(url, file, place)
    try:
        next(iter(log.events()), None)
    except LogRefusedError:
        return True
    finally:
        log.close()
    return False


def _is_left_out(source: MySQLSource, database: str) -> bool | None:
    """Whether the server logs nothing of a database; None where the user may not ask."""
    try:
        _, _, only, without = log_status(source.rows)
    except (LoadError, ValueError):
        return None
    return (bool(only) and database not in only.split(",")) or database in without.split(",")
