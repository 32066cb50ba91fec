"""Blocks of rows as Arrow columns, without a Python object for each value."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv

from ..wire import Block


def fields_of(
    block: Block, kinds: dict[str, pa.DataType], only: Sequence[str] | None = None
) -> pa.Table:
    """The fields of a block under the given names and types, null where the line says so.

    Text stays as it was sent, escapes and all. `only`: names of the columns that are wanted.
    """
    return pyarrow.csv.read_csv(
        pa.py_buffer(block.data),
        read_options=pyarrow.csv.ReadOptions(
            column_names=list(kinds), block_size=len(block.data) + 1, use_threads=False
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t", quote_char=False, escape_char=False, ignore_empty_lines=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=kinds,
            null_values=["\\N"],
            strings_can_be_null=True,
            include_columns=only,
        ),
    )
