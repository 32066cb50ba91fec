"""Rows as Parquet files in S3, from where Redshift copies them."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ...errors import LoadError, UsageError
from ...schema import Column, Kind, Table, Type
from ...wire import ESCAPES, Block, binary_field, has_escapes
from ..arrow import fields_of

# After compression. Small enough that the slices share the files of any larger table, large enough
# that opening them costs little.
FILE_BYTES = 16_000_000
# Arrow's memory for a group of rows; a group is compressed together.
GROUP_BYTES = 16_000_000
# The name of a run's folder: its batch.
BATCH = re.compile(r"\d{8}T\d{12}Z_[0-9a-f]{4}")
EPOCH_DAY = datetime(1970, 1, 1).toordinal()


class StagingFiles:
    """The folder of one warehouse below `url` (s3://bucket/prefix); it has one folder per run."""

    def __init__(self, url: str, region: str | None = None, profile: str | None = None) -> None:
        parts = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w.=/-]*))?", url)
        if parts is None:
            raise UsageError(
                f"REDSHIFT_S3_STAGING is {url}: write it as s3://bucket/prefix, the prefix of"
                " letters, digits and . _ - = / only."
            )
        self.url = url
        self._bucket, self._prefix = parts[1], (parts[2] or "").strip("/")
        self._root = ""
        self._region, self._profile = region, profile
        self._s3: Any = None

    def open(self, warehouse: str) -> None:
        """Find the credentials. `warehouse` names a folder that no other warehouse uses."""
        self._root = "/".join(filter(None, [self._prefix, warehouse])) + "/"
        with self._doing("opening it"):
            session = boto3.Session(profile_name=self._profile, region_name=self._region)
            retries = {"max_attempts": 4, "mode": "standard"}
            self._s3 = session.client("s3", config=Config(connect_timeout=10, retries=retries))

    def write(self, batch: str, table: Table, number: int, blocks: Iterator[Block]) -> str | None:
        """Write the rows of a table; returns the folder for COPY, or None when there are no rows.

        Memory stays flat: a file is filled while the one before it is sent.
        """
        folder = f"{self._root}{batch}/{number}/"
        files = 0
        with (
            self._doing(f"writing the table {table.raw_name}"),
            ThreadPoolExecutor(max_workers=1) as sender,
        ):
            sending: Future[None] | None = None
            for body in _files(table, blocks):
                if sending is not None:
                    sending.result()
                sending = sender.submit(self._put, f"{folder}{files:05}.parquet", body)
                files += 1
            if sending is not None:
                sending.result()
        return f"s3://{self._bucket}/{folder}" if files else None

    def remove(self, batch: str) -> None:
        """Remove the files of a run."""
        self._remove(f"{self._root}{batch}/", lambda _: True)

    def remove_older(self, batch: str) -> None:
        """Remove the files of killed runs into this warehouse that began before this one."""

        def is_older(key: str) -> bool:
            run = key[len(self._root) :].partition("/")[0]
            return bool(BATCH.fullmatch(run)) and run < batch

        self._remove(self._root, is_older)

    def _put(self, key: str, body: pa.Buffer) -> None:
        self._s3.put_object(
            Bucket=self._bucket, Key=key, Body=body.to_pybytes(), ServerSideEncryption="AES256"
        )

    def _remove(self, prefix: str, wanted: Callable[[str], bool]) -> None:
        with self._doing("removing files"):
            pages = self._s3.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                keys = [entry["Key"] for entry in page.get("Contents", ()) if wanted(entry["Key"])]
                if keys:
                    listed = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
                    answer = self._s3.delete_objects(Bucket=self._bucket, Delete=listed)
                    for refused in answer.get("Errors", ())[:1]:
                        raise LoadError(f"{self.url}: {refused['Key']} cannot be removed.")

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise LoadError(f"REDSHIFT_S3_STAGING {self.url}, {what}: {_problem(error)}.") from None


def _problem(error: BotoCoreError | ClientError) -> str:
    """What S3 or its client says, and what to do."""
    said = " ".join(str(error).split()).rstrip(".")
    if not isinstance(error, ClientError):
        return said
    code = error.response.get("Error", {}).get("Code", "")
    return {
        "NoSuchBucket": "there is no such bucket; create it in the warehouse's region",
        "AccessDenied": "access denied; the loader's identity needs s3:PutObject, s3:DeleteObject"
        " and s3:ListBucket there (docs/redshift.md has the policy)",
        "ExpiredToken": "the AWS credentials have expired; log in again",
        "InvalidAccessKeyId": "AWS does not know the access key; check the credentials",
        "SignatureDoesNotMatch": "the secret of the access key is wrong; check the credentials",
        "PermanentRedirect": "the bucket is in another region; set AWS_REGION",
    }.get(code, said)


def _files(table: Table, blocks: Iterator[Block]) -> Iterator[pa.Buffer]:
    """The rows as whole Parquet files of about equal size."""
    columns = [(f"c{n}", column) for n, column in enumerate(table.columns)]
    schema = pa.schema([(name, arrow_type(column.type)) for name, column in columns])
    sink: pa.BufferOutputStream | None = None
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.RecordBatch] = []
    for block in blocks:
        waiting.extend(arrow_rows(block, columns, schema))
        if sum(batch.nbytes for batch in waiting) < GROUP_BYTES:
            continue
        sink, writer = (sink, writer) if sink and writer else _begin(schema)
        writer.write_table(pa.Table.from_batches(waiting, schema))
        waiting = []
        if sink.tell() >= FILE_BYTES:
            writer.close()
            yield sink.getvalue()
            sink = writer = None
    if waiting:
        sink, writer = (sink, writer) if sink and writer else _begin(schema)
        writer.write_table(pa.Table.from_batches(waiting, schema))
    if sink is not None and writer is not None:
        writer.close()
        yield sink.getvalue()


def _begin(schema: pa.Schema) -> tuple[pa.BufferOutputStream, pq.ParquetWriter]:
    sink = pa.BufferOutputStream()
    # Redshift misreads 64-bit timestamps with only a logical type, but reads INT96 right.
    writer = pq.ParquetWriter(
        sink, schema, version="1.0", use_deprecated_int96_timestamps=True, store_schema=False
    )
    return sink, writer


def arrow_type(kind: Type) -> pa.DataType:
    """The type of a column in the file."""
    if kind.kind is Kind.DECIMAL:
        return pa.decimal128(kind.precision, kind.scale)
    return {
        Kind.BOOLEAN: pa.bool_(),
        Kind.SMALLINT: pa.int16(),
        Kind.INTEGER: pa.int32(),
        Kind.BIGINT: pa.int64(),
        Kind.DOUBLE: pa.float64(),
        Kind.DATE: pa.date32(),
        Kind.TIMESTAMP: pa.timestamp("us"),
        Kind.TEXT: pa.large_string(),
        Kind.BINARY: pa.large_binary(),
    }[kind.kind]


def arrow_rows(
    block: Block, columns: Sequence[tuple[str, Column]], schema: pa.Schema
) -> list[pa.RecordBatch]:
    """The rows of a block in the types of the file."""
    direct = (Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT, Kind.DECIMAL, Kind.DOUBLE)
    fields = fields_of(
        block,
        {
            name: arrow_type(column.type) if column.type.kind in direct else pa.large_string()
            for name, column in columns
        },
    )
    escapes = has_escapes(block.data)
    values = [
        _converted(fields.column(name), column.type.kind, escapes) for name, column in columns
    ]
    batches: list[pa.RecordBatch] = pa.Table.from_arrays(values, schema=schema).to_batches()
    return batches


def _converted(fields: pa.ChunkedArray, kind: Kind, escapes: bool) -> pa.ChunkedArray:
    """Fields that are text on the wire, in their own type."""
    if kind is Kind.BOOLEAN:
        return pc.equal(fields, "t")
    if kind is Kind.TEXT and escapes:
        for plain, escaped in reversed(ESCAPES.items()):
            fields = pc.replace_substring(fields, escaped, plain)
    elif kind is Kind.BINARY:
        start = len(binary_field(b""))
        values = [v if v is None else bytes.fromhex(v[start:]) for v in fields.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.large_binary())])
    elif kind in (Kind.DATE, Kind.TIMESTAMP):
        target = pa.date32() if kind is Kind.DATE else pa.timestamp("us")
        # Arrow reads a year of four digits and no BC. Other values are rare.
        if pc.all(pc.match_substring_regex(fields, r"^\d{4}-[^C]*$")).as_py() is not False:
            return pc.cast(fields, target)
        moments = [v if v is None else _moment(v, kind) for v in fields.to_pylist()]
        whole = pa.int32() if kind is Kind.DATE else pa.int64()
        return pa.chunked_array([pa.array(moments, whole).cast(target)])
    return fields


def _moment(text: str, kind: Kind) -> int:
    """Days or microseconds since 1970, from the wire text of a date or timestamp of any year."""
    text, before_christ, _ = text.partition(" BC")
    date, _, time = text.partition(" ")
    year, month, day = map(int, date.split("-"))
    if before_christ:
        year = 1 - year
    # The calendar repeats after 400 years, which have this many days.
    turns, year = divmod(year - 1, 400)
    days = datetime(year + 1, month, day).toordinal() - EPOCH_DAY + turns * 146_097
    if kind is Kind.DATE:
        return days
    hour, minute, second = time.split(":")
    whole, _, fraction = second.partition(".")
    seconds = (days * 24 + int(hour)) * 3600 + int(minute) * 60 + int(whole)
    return seconds * 1_000_000 + int(fraction.ljust(6, "0"))
