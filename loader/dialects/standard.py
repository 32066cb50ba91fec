"""SQL that PostgreSQL, Amazon Redshift, DuckDB and SQLite read alike."""

from datetime import datetime

from ..wire import ESCAPES


def quote(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | int | datetime | None) -> str:
    """A value in SQL."""
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return f"timestamp '{value.isoformat(' ')}'"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def escaped_sql(text: str) -> str:
    """SQL that escapes text for the wire."""
    for plain, escaped in ESCAPES.items():
        text = f"replace({text}, chr({ord(plain)}), '{escaped}')"
    return text
