"""The types of a Parquet file, and its columns in types that DuckDB holds exactly."""

import json
from collections.abc import Callable

import pyarrow as pa

from .nested import durations, json_texts

# Types, in Arrow's words, that are loaded as JSON.
NESTED = ("list<", "large_list<", "fixed_size_list<", "struct<", "map<")
# Before the reference system in the type of a column of geometries.
IN_SYSTEM = " in "


def declared_types(schema: pa.Schema) -> list[str]:
    """The type of each column in words."""
    systems = _reference_systems(schema)
    return [_kind_name(field.type) + systems.get(field.name, "") for field in schema]


def held_by_duckdb(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in a type that DuckDB holds exactly."""
    kind = values.type
    if pa.types.is_nested(kind):
        return _as_text(values, json_texts)
    if pa.types.is_duration(kind):
        return _as_text(values, durations)
    if pa.types.is_decimal(kind):
        if kind.precision > 38:
            texts = [None if v is None else format(v, "f") for v in values.to_pylist()]
            return pa.chunked_array([pa.array(texts, pa.string())])
        return values.cast(pa.decimal128(kind.precision, kind.scale))
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return values.cast(pa.timestamp(kind.unit))  # the instant in UTC
    if pa.types.is_null(kind) or kind == pa.time64("ns"):
        return values.cast(pa.string())
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    return values


def _as_text(
    values: pa.ChunkedArray, spell: Callable[[pa.Array], list[str | None]]
) -> pa.ChunkedArray:
    texts = [pa.array(spell(chunk), pa.large_string()) for chunk in values.chunks]
    return pa.chunked_array(texts, pa.large_string())


def _reference_systems(schema: pa.Schema) -> dict[str, str]:
    """By column of geometries: the reference system that GeoParquet states, where it is no default.

    It belongs to each value, but WKB does not hold it.
    """
    try:
        columns = json.loads((schema.metadata or {}).get(b"geo", b"{}"))["columns"]
        stated = {name: column["crs"] for name, column in columns.items() if column.get("crs")}
        named = {
            name: "{authority}:{code}".format(**crs["id"]) if "id" in crs else crs["name"]
            for name, crs in stated.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: f"{IN_SYSTEM}{crs}" for name, crs in named.items() if crs != "OGC:CRS84"}


def _kind_name(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return str(kind)
