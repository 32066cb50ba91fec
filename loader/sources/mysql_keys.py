"""The SQL that finds rows by their keys, each once, whatever a collation takes for equal."""

from collections.abc import Iterator, Sequence

from ..ranges import Key, Partition
from ..schema import BINARY, TEXT, Column, Kind, Table
from ..wire import unescape
from .mysql_values import detail_of, quote

# The server looks up so many keys one by one; for more it may read the whole table.
KEYS_AT_ONCE = 500
MOMENTS = (Kind.DATE, Kind.TIMESTAMP)


def conditions(table: Table, keys: Sequence[Key]) -> Iterator[str]:
    """Conditions that together hold for the rows with these keys; none for two of them."""
    columns = table.key_columns
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        if len(columns) == 1:
            fields = [key[0] for key in some]
            yield f"where {_among(columns[0], table, fields)}"
        else:
            yield "where " + " or ".join(
                "("
                + " and ".join(
                    _among(column, table, [field])
                    for column, field in zip(columns, key, strict=True)
                )
                + ")"
                for key in some
            )


def _among(column: Column, table: Table, fields: Sequence[bytes]) -> str:
    name = quote(column.name)
    values = ", ".join(_literal(column, table, field) for field in fields)
    found = f"{name} in ({values})"
    if column.type is TEXT and detail_of(table, column)["base"] in ("char", "varchar"):
        # A collation takes other texts for equal, which are other keys in the warehouse.
        exact = ", ".join(_hex(unescape(field)) for field in fields)
        found += f" and cast(convert({name} using utf8mb4) as binary) in ({exact})"
    return found


def _literal(column: Column, table: Table, field: bytes) -> str:
    if column.type is BINARY:
        return _hex(bytes.fromhex(field.removeprefix(b"\\x5Cx").decode()))
    if column.type is TEXT:
        text = f"convert({_hex(unescape(field))} using utf8mb4)"
        if found := detail_of(table, column).get("text"):
            # In the column's own collation: the server does not compare two that differ.
            charset, collation = found
            text = f"convert({text} using {charset}) collate {collation}"
        return text
    # A number in quotes would be compared as a double.
    return f"'{field.decode()}'" if column.type.kind in MOMENTS else field.decode()


def _hex(value: bytes) -> str:
    return f"x'{value.hex()}'"


def in_order(table: Table) -> str:
    """SQL that reads a table in the order of its key."""
    return f"from {quote(table.name)} force index ({quote(str(table.detail['key']))})"


def within(partition: Partition, first: int | None, after: int | None) -> str:
    """The condition for keys from one range on, and before another one."""
    key = quote(partition.column.name)
    bounds = [
        *([f"{key} >= {partition.bounds(first)[0]}"] if first is not None else []),
        *([f"{key} < {partition.bounds(after)[0]}"] if after is not None else []),
    ]
    return f" where {' and '.join(bounds)}" if bounds else ""
