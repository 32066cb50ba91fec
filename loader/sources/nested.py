"""Lists, structs and maps of Parquet as JSON text: every value exact, or marked as lost."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# After a null that stands for a value which JSON cannot write. JSON itself has no such character:
# in its texts it is escaped.
LOST = "\x01"
_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def json_texts(values: pa.Array) -> list[str | None]:
    """Each value as JSON; null stays null."""
    texts = zip(_spelled(values), values.is_valid().to_pylist(), strict=True)
    return [text if is_valid else None for text, is_valid in texts]


def durations(values: pa.Array) -> list[str | None]:
    """Durations in ISO 8601, as intervals of PostgreSQL arrive."""
    digits = _UNITS[values.type.unit]
    counts = values.cast(pa.int64()).to_pylist()
    return [None if count is None else _duration(count, digits) for count in counts]


def _duration(count: int, digits: int) -> str:
    whole, part = divmod(abs(count), 10**digits)
    fraction = f".{part:0{digits}}".rstrip("0") if part else ""
    return f"PT{'-' if count < 0 else ''}{whole}{fraction}S"


def _spelled(values: pa.Array) -> list[str]:
    """Each value as JSON, also where it is null."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _spelled(values.dictionary_decode())
    if isinstance(kind, pa.BaseExtensionType):
        return _texts(values) if kind.extension_name == "arrow.uuid" else _spelled(values.storage)
    if pa.types.is_struct(kind):
        names = [f"{_quoted(field.name)}:" for field in kind]
        children = [_spelled(child) for child in values.flatten()]
        rows = zip(*children, strict=True) if children else ((),) * len(values)
        return [
            "{" + ",".join(map("".join, zip(names, row, strict=True))) + "}" if is_valid else "null"
            for row, is_valid in zip(rows, values.is_valid().to_pylist(), strict=True)
        ]
    if pa.types.is_nested(kind):
        return _lists(values)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return [json.dumps(value) for value in values.to_pylist()]
    if pa.types.is_floating(kind):
        return [_number(value) for value in values.to_pylist()]
    if pa.types.is_decimal(kind):
        return ["null" if v is None else format(v, "f") for v in values.to_pylist()]
    if pa.types.is_temporal(kind):
        return _times(values)
    return _texts(values)


def _lists(values: pa.Array) -> list[str]:
    """Lists as arrays; maps as objects if their keys are text, else as arrays of pairs."""
    kind = values.type
    if pa.types.is_map(kind):
        fields = [pa.field("key", kind.key_type), pa.field("value", kind.item_type)]
        values = values.cast(pa.list_(pa.struct(fields)))
        keys, items = (_spelled(part) for part in values.flatten().flatten())
        is_object = pa.types.is_string(kind.key_type)
        pair, ends = ("{}:{}", "{}") if is_object else ("[{},{}]", "[]")
        parts = [pair.format(key, item) for key, item in zip(keys, items, strict=True)]
    else:
        parts, ends = _spelled(values.flatten()), "[]"
    texts, start = [], 0
    for length in pc.list_value_length(values).to_pylist():
        end = start + (length or 0)
        inside = ",".join(parts[start:end])
        texts.append("null" if length is None else f"{ends[0]}{inside}{ends[1]}")
        start = end
    return texts


def _number(value: float | None) -> str:
    if value is None:
        return "null"
    return repr(value) if abs(value) < float("inf") else "null" + LOST


def _times(values: pa.Array) -> list[str]:
    kind, zone = values.type, ""
    if pa.types.is_duration(kind):
        return ["null" if text is None else _quoted(text) for text in durations(values)]
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        values, zone = values.cast(pa.timestamp(kind.unit)), "+00"
    texts = []
    for text in values.cast(pa.string()).to_pylist():
        if text is not None and "." in text:
            text = text.rstrip("0").rstrip(".")
        texts.append("null" if text is None else _quoted(text + zone))
    return texts


def _texts(values: pa.Array) -> list[str]:
    def text(value: Any) -> str:
        return "\\x" + value.hex() if isinstance(value, bytes) else str(value)

    return ["null" if v is None else _quoted(text(v)) for v in values.to_pylist()]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
