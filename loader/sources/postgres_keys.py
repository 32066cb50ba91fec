"""The SQL that finds rows by their keys, each once, whatever a collation takes for equal."""

from collections.abc import Iterator, Sequence

from psycopg import sql

from ..ranges import Key
from ..schema import BINARY, TEXT, Column, Table
from ..wire import unescape

KEYS_AT_ONCE = 5_000


def conditions(table: Table, keys: Sequence[Key]) -> Iterator[sql.Composable]:
    """Conditions that together hold for the rows with these keys; none for two of them."""
    columns = table.key_columns
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    # Types that take other spellings for equal have other keys in the warehouse.
    spelled = [
        n
        for n, column in enumerate(columns)
        if column.type is TEXT and table.detail[column.name] != "bpchar"
    ]
    exact = sql.SQL(", ").join(
        sql.SQL('{}::text collate "C"').format(sql.Identifier(columns[n].name)) for n in spelled
    )
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        condition = sql.SQL(" where ({}) in (values {})").format(
            names,
            sql.SQL(", ").join(
                sql.SQL("({})").format(
                    sql.SQL(", ").join(
                        _value(column, field) for column, field in zip(columns, key, strict=True)
                    )
                )
                for key in some
            ),
        )
        if spelled:
            condition += sql.SQL(" and ({}) in (values {})").format(
                exact,
                sql.SQL(", ").join(
                    sql.SQL("({})").format(
                        sql.SQL(", ").join(sql.Literal(_text(key[n])) for n in spelled)
                    )
                    for key in some
                ),
            )
        yield condition


def _value(column: Column, field: bytes) -> sql.Composable:
    if column.type is BINARY:
        digits = field.removeprefix(b"\\x5Cx").decode()
        return sql.SQL("decode({}, 'hex')").format(sql.Literal(digits))
    return sql.SQL("{}::{}").format(sql.Literal(_text(field)), sql.SQL(column.declared))


def _text(field: bytes) -> str:
    return unescape(field).decode()
