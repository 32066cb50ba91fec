"""Redshift's `copy ... from 's3://...' format parquet`, as an insert that PostgreSQL can run."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

_COPY = re.compile(
    r"""\s*copy\s+(?P<table>[\w".]+)\s*(?:\((?P<columns>[^)]*)\)\s*)?
        from\s+'(?P<url>[^']+)'\s*(?P<options>.*?)\s*;?\s*$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# Those that the vendor's page on columnar formats lists, as far as anybody here needs them.
_OPTIONS = re.compile(
    r"iam_role\s+(?:default|'[^']+')|format\s+(?:as\s+)?parquet|manifest|statupdate\s+(?:on|off)",
    re.IGNORECASE,
)
# What Redshift calls the types of a Parquet file, which have to be those of the columns.
_TYPES = {
    pa.bool_(): "boolean",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.date32(): "date",
    pa.timestamp("ms"): "timestamp without time zone",
    pa.timestamp("us"): "timestamp without time zone",
    pa.string(): "character varying",
    pa.large_string(): "character varying",
    pa.binary(): "varbyte",
    pa.large_binary(): "varbyte",
}


class CopyError(Exception):
    """Redshift would refuse the copy; the text says why."""


def is_copy(sql: str) -> bool:
    """Whether a statement is a copy from S3."""
    return bool(re.match(r"\s*copy\s", sql, re.IGNORECASE)) and "s3://" in sql


def copy_to_insert(sql: str) -> tuple[str, int]:
    """The insert that does what a copy does, and how many rows it has. Raises CopyError."""
    match = _COPY.match(sql)
    if not match:
        raise CopyError("the copy statement cannot be read")
    options = match["options"]
    others = _OPTIONS.sub("", options).strip()
    if others:
        raise CopyError(f"copy from Parquet does not support: {others}")
    if not re.search(r"\biam_role\b", options, re.IGNORECASE):
        raise CopyError("copy needs an IAM role")
    if not re.search(r"\bparquet\b", options, re.IGNORECASE):
        raise CopyError("only format parquet is known here")
    manifest = re.search(r"\bmanifest\b", options, re.IGNORECASE) is not None

    types: list[str] | None = None
    rows: list[list[str | None]] = []
    for body in _objects(match["url"], manifest):
        table = pq.read_table(io.BytesIO(body), coerce_int96_timestamp_unit="us")
        found = [_type(field) for field in table.schema]
        if types not in (None, found):
            raise CopyError("the files of one copy have different columns")
        types = found
        columns = [_values(column) for column in table.columns]
        rows += [[_text(value) for value in row] for row in zip(*columns, strict=True)]

    named = [
        name.strip().strip('"') for name in (match["columns"] or "").split(",") if name.strip()
    ]
    arguments = ", ".join(_literal(json.dumps(argument)) for argument in (named, types or [], rows))
    target = match["table"]
    into = f" ({', '.join(_quoted(name) for name in named)})" if named else ""
    listed = ", ".join(f"(r).{_quoted(name)}" for name in named) or "(r).*"
    return (
        f"insert into {target}{into} select {listed} from pg_catalog.shim_copied("
        f"null::{target}, {_literal(target)}, {arguments}) as r",
        len(rows),
    )


def _objects(url: str, manifest: bool) -> Iterator[bytes]:
    """What lies under a prefix, or what a manifest names."""
    s3 = boto3.client(
        "s3",
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL"),
        region_name=os.environ.get("AWS_REGION") or "us-east-1",
    )
    bucket, _, key = url.removeprefix("s3://").partition("/")
    try:
        if not manifest:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
            if not keys:
                raise CopyError(f"The specified S3 prefix '{key}' does not exist")
            for name in keys:
                yield s3.get_object(Bucket=bucket, Key=name)["Body"].read()
            return
        entries = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())["entries"]
        for entry in entries:
            bucket, _, key = entry["url"].removeprefix("s3://").partition("/")
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            if entry.get("meta", {}).get("content_length") != len(body):
                raise CopyError(f"the manifest's content_length of {entry['url']} is not its size")
            yield body
    except ClientError as error:
        raise CopyError(f"S3ServiceException: {error}") from error


def _type(field: pa.Field) -> str:
    if pa.types.is_decimal(field.type):
        return f"numeric({field.type.precision},{field.type.scale})"
    try:
        return _TYPES[field.type]
    except KeyError:
        raise CopyError(f"copy cannot load column {field.name} of type {field.type}") from None


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; dates and times as text, because Python's end with the year 9999."""
    if pa.types.is_date(column.type):
        days = column.cast(pa.int32()).to_pylist()
        return [None if day is None else "{}{}".format(*_date(day)) for day in days]
    if pa.types.is_timestamp(column.type):
        moments = column.cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
        return [None if moment is None else _moment(moment) for moment in moments]
    return list(column.to_pylist())


def _date(days: int) -> tuple[str, str]:
    """A date, by days since 1970, and its era."""
    # The calendar repeats after 400 years, which have this many days.
    turns, rest = divmod(days + date(1970, 1, 1).toordinal() - 1, 146_097)
    found = date.fromordinal(rest + 1)
    year = found.year + 400 * turns
    return f"{year if year > 0 else 1 - year:04}{found:-%m-%d}", "" if year > 0 else " BC"


def _moment(microseconds: int) -> str:
    days, rest = divmod(microseconds, 86_400_000_000)
    day, era = _date(days)
    return f"{day} {datetime.min + timedelta(microseconds=rest):%H:%M:%S.%f}{era}"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return repr(value) if isinstance(value, float) else str(value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
