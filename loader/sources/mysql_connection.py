"""Connecting to a MySQL or MariaDB server: options of the URL, TLS, and what errors mean."""

import ssl
from typing import Any

import pymysql

from ..errors import LoadError, UsageError
from ..urls import SourceUrl

URL_OPTIONS = {"tls", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket"}
# The server's and the driver's codes for a login that is refused, and for a lost connection.
DENIED = {1045, 1698}
GONE = {2003, 2005, 2006, 2013}


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
        return pymysql.connect(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.user,
            password=url.password or "",
            database=url.database,
            charset="utf8mb4",
            unix_socket=url.options.get("unix_socket"),
            ssl=_tls(url),
            connect_timeout=10,
        )
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
        raise LoadError(f"The MySQL server at {url.address} {reason}.") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"The MySQL server at {url.address} cannot be used: {error}.") from None


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
