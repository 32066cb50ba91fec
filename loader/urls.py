"""Source URLs: `scheme://user:password@host:port/database?option=value`, or a file's path."""

import os
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from .errors import UsageError


@dataclass(frozen=True)
class SourceUrl:
    """A source URL in its parts, percent-decoded. Printing it hides the password."""

    scheme: str
    host: str = ""
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = ""
    options: dict[str, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        user = quote(self.user, safe="") if self.user is not None else ""
        login = f"{user}:***@" if self.password is not None else (f"{user}@" if user else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{login}{host}{port}/{self.database}"

    @property
    def address(self) -> str:
        """Host and port of the server, for messages."""
        return f"{self.host or 'localhost'}{f':{self.port}' if self.port else ''}"


def is_local(host: str) -> bool:
    """Whether a host is this machine: a socket, or a loopback address."""
    return host in ("", "localhost", "::1") or host.startswith(("/", "127."))


def unencrypted(side: str, host: str) -> str:
    """The warning for a connection that leaves this machine without TLS."""
    return (
        f"The connection to the {side} at {host} is not encrypted: rows and password can be read on"
        " the way; ask for TLS."
    )


def with_password(url: str) -> str:
    """The source URL with the password of SOURCE_PASSWORD, when it has a user but no password."""
    password = os.environ.get("SOURCE_PASSWORD")
    scheme, separator, rest = url.partition("://")
    user, at, address = rest.rpartition("@")
    # After a slash, the @ is part of a path or of an option.
    if not password or not separator or not at or ":" in user or "/" in user:
        return url
    return f"{scheme}://{user}:{quote(password, safe='')}@{address}"


def parse_url(text: str) -> SourceUrl:
    """Split a source URL into its parts.

    Raises UsageError, without repeating a password, when it cannot be read.
    """
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise UsageError(
            "The source is not a URL: write it as sqlite:///shop.sqlite, file:///dumps/*.csv,"
            " mysql://user:password@host:3306/database or postgresql://user:password@host/database."
        )
    if scheme == "sqlite":
        path, _, query = rest.partition("?")
        if not path.startswith("/") or len(path) < 2:
            raise UsageError(
                "The SQLite source names no file: write sqlite:///shop.sqlite (relative)"
                " or sqlite:////data/shop.sqlite (absolute)."
            )
        return SourceUrl("sqlite", database=unquote(path[1:]), options=dict(parse_qsl(query)))
    if scheme == "file":
        path, _, query = rest.partition("?")
        if not path.startswith("/") or len(path) < 2:
            raise UsageError(
                "The file source names no folder: write file:///dumps (relative),"
                " file:////data/dumps (absolute) or file:///dumps/*.csv (some files; ? is %3F)."
            )
        return SourceUrl("file", database=unquote(path[1:]), options=dict(parse_qsl(query)))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UsageError(
            f"The {scheme} source URL cannot be read: write"
            f" {scheme}://user:password@host:port/database, with special characters of the password"
            " percent-encoded (@ is %40, / is %2F, : is %3A, # is %23)."
        ) from None
    if parts.fragment:
        raise UsageError(
            f"The {scheme} source URL has a bare #: percent-encode it as %23 when it belongs"
            " to the password."
        )
    return SourceUrl(
        scheme=scheme,
        host=unquote(parts.hostname or ""),
        port=port,
        user=unquote(parts.username) if parts.username is not None else None,
        password=unquote(parts.password) if parts.password is not None else None,
        database=unquote(parts.path.lstrip("/")),
        options=dict(parse_qsl(parts.query)),
    )
