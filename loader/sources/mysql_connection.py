"""Connecting to a MySQL or MariaDB server: options of the URL, TLS, and what errors mean."""

import contextlib
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, ClassVar

import pymysql

from ..errors import LoadError, SilentError, UsageError
from ..urls import SourceUrl

URL_OPTIONS = {"tls", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket"}
# The server's and the driver's codes for a login that is refused, and for a lost connection.
DENIED = {1045, 1698}
GONE = {2003, 2005, 2006, 2013}
# Seconds in which a server answers a login.
LOGIN = 30
# A network that lets nothing through ends a connection in half a minute, and not after hours:
# milliseconds until what was sent is answered; seconds of silence before the first question whether
# somebody is there, between two, and how many. A system has not all of these.
ALIVE = {"TCP_USER_TIMEOUT": 30_000, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
# What changes which rows or values come back, or ends a long load, whatever the server, the role or
# init_connect say. Values as the server shows them; a server has not all of these.
SESSION = {
    # Backslash escapes work, char columns are not padded.
    "sql_mode": "",
    # A timestamp is an instant.
    "time_zone": "+00:00",
    "character_set_client": "utf8mb4",
    "character_set_connection": "utf8mb4",
    "character_set_results": "utf8mb4",
    # Each of these cuts a result without an error.
    "sql_select_limit": "18446744073709551615",
    "group_concat_max_len": "1073741824",
    "max_recursive_iterations": "4294967295",
    "sql_auto_is_null": "OFF",
    # These show other rows or columns than the present ones.
    "system_versioning_asof": "DEFAULT",
    "wsrep_dirty_reads": "OFF",
    "show_gipk_in_create_table_and_information_schema": "ON",
    # What a view or a virtual column calculates.
    "div_precision_increment": "4",
    "default_week_format": "0",
    "lc_time_names": "en_US",
    # These end a query with an error. It lifts max_join_size too.
    "sql_big_selects": "ON",
    "max_statement_time": "0.000000",
    "max_execution_time": "0",
    "cte_max_recursion_depth": "4294967295",
    # These end the connection. The warehouse may be slower than the server's 60 s.
    "net_write_timeout": "3600",
    "net_read_timeout": "3600",
    "wait_timeout": "28800",
    "idle_transaction_timeout": "0",
    "idle_readonly_transaction_timeout": "0",
}
Rows = Callable[[str], list[tuple[Any, ...]]]


def check_url(url: SourceUrl) -> None:
    """Raise UsageError for a URL without a database or with an unknown option."""
    if not url.database:
        raise UsageError(
            f"The source URL names no database: write {url.scheme}://user:password@host:port/database."
        )
    unknown = set(url.options) - URL_OPTIONS
    if unknown or url.options.get("tls", "on") != "on":
        # A misspelt wish for TLS must not become a connection without it.
        raise UsageError(
            f"The source URL has an unknown option ({', '.join(sorted(unknown)) or 'tls'}):"
            " use tls=on, ssl_ca, ssl_cert, ssl_key or unix_socket."
        )


def connect(url: SourceUrl) -> "pymysql.connections.Connection[Any]":
    """Log in. Raises LoadError that says what to check; UsageError for unusable TLS files."""
    try:
        connection = _Connection(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.user,
            password=url.password or "",
            database=url.database,
            charset="utf8mb4",
            unix_socket=url.options.get("unix_socket"),
            ssl=_tls(url),
            connect_timeout=10,
            read_timeout=LOGIN,
        )
        _last(connection)
        return connection
    except pymysql.MySQLError as error:
        code = error.args[0] if error.args else 0
        cause = getattr(error, "original_exception", None)
        if isinstance(cause, ssl.SSLError):
            said = getattr(cause, "verify_message", "") or cause.reason
            reason = f"cannot be trusted or speaks no TLS ({said}): check ssl_ca and the host name"
        elif code in DENIED:
            reason = f"refused the user {url.user or '(none)'}: check user, password and grants"
        elif code == 1044:
            # The server does not tell a user without rights which one it is.
            reason = f"has no database {url.database}, or the user {url.user} may not use it"
        elif code == 1049:
            reason = f"has no database {url.database}"
        elif code in GONE:
            reason = "cannot be reached: check host and port, and that the server runs"
        else:
            reason = f"said: {error.args[-1] if error.args else error}"
        kind = SilentError if code in GONE else LoadError
        raise kind(f"The MySQL server at {url.address} {reason}.") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"The MySQL server at {url.address} cannot be used: {error}.") from None


def _last(connection: Any) -> None:
    """A statement may take hours as long as the server is there."""
    connection._read_timeout = None
    if connection._sock.family != socket.AF_UNIX:
        for name, value in ALIVE.items():
            if option := getattr(socket, name, None):
                connection._sock.setsockopt(socket.IPPROTO_TCP, option, value)


def hang_up(connection: Any) -> None:
    """End the connection, also while another thread reads."""
    if (sock := getattr(connection, "_sock", None)) is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


class _Connection(pymysql.connections.Connection):
    """Makes what TLS needs once, which takes 30 ms: a watcher connects for each of its batches."""

    _any_tls: ClassVar[ssl.SSLContext | None] = None

    def _create_ssl_ctx(self, sslp: Any) -> Any:
        if sslp:
            return super()._create_ssl_ctx(sslp)  # type: ignore[misc]
        if _Connection._any_tls is None:
            _Connection._any_tls = super()._create_ssl_ctx(sslp)  # type: ignore[misc]
        return _Connection._any_tls


def settle(rows: Rows) -> None:
    """Give the session its settings. Raises LoadError that names one that cannot be changed.

    `rows` runs a query.
    """
    # First, because they hold for the questions below too.
    rows(f"set session sql_select_limit = {SESSION['sql_select_limit']}, sql_big_selects = 1")
    if wrong := _unsettled(rows):
        rows("set session " + ", ".join(f"{name} = {_spelled(SESSION[name])}" for name in wrong))
        # A proxy may swallow it, and an administrator may have set a maximum.
        for name, value in _unsettled(rows).items():
            raise LoadError(
                f"The MySQL server leaves the session's {name} at {value or 'nothing'}, and with it"
                f" may show other rows or values: let the user set it to {SESSION[name]}."
            )


def _unsettled(rows: Rows) -> dict[str, str]:
    """The settings that are not as they must be, with their present values."""
    names = ", ".join(f"'{name}'" for name in SESSION)
    found = rows(f"show session variables where variable_name in ({names})")
    return {name: value for name, value in found if value != SESSION[name]}


def _spelled(value: str) -> str:
    return value if re.fullmatch(r"[\d.]+|ON|OFF|DEFAULT", value) else f"'{value}'"


def _tls(url: SourceUrl) -> ssl.SSLContext | None:
    """TLS as the URL asks for it: `tls=on` encrypts, `ssl_ca=FILE` verifies the server too."""
    files = {name: url.options.get(f"ssl_{name}") for name in ("ca", "cert", "key")}
    if not any(files.values()) and url.options.get("tls") != "on":
        return None
    try:
        context = ssl.create_default_context(cafile=files["ca"])
        if files["cert"]:
            context.load_cert_chain(files["cert"], files["key"])
    except OSError as error:
        raise UsageError(
            f"The TLS files of the source URL cannot be used: {error.strerror or error}."
        ) from None
    if not files["ca"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
