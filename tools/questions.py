"""Write the analyst's questions, each with its SQL and its answer, into docs/questions.md.

    python -m tools.questions

It reads the DuckDB warehouse that `make build` made. On the page, `<!-- answer: name -->` names a
file in `analyses/`; the text from there to `<!-- end -->` is replaced.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import duckdb

from pipeline.dbt_runner import close_connections, run_dbt
from pipeline.project import PROJECT

PAGE = PROJECT / "docs" / "questions.md"
ANALYSES = PROJECT / "analyses"
COMPILED = PROJECT / "target" / "compiled" / "classicmodels" / "analyses"

ANSWERS = re.compile(r"(<!-- answer: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Answer = tuple[Sequence[str], Sequence[Sequence[Any]]]  # names of the columns, and the rows


def answered(page: str, answer_of: Callable[[str], Answer]) -> str:
    """The page with the SQL of each question, as in its file, and the answer to it."""

    def fill(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        sql = (ANALYSES / f"{name}.sql").read_text("utf-8")
        hidden = f"<details><summary>SQL</summary>\n\n```sql\n{sql}```\n\n</details>"
        return f"{begin}\n{as_table(*answer_of(name))}\n\n{hidden}\n\n{end}"

    return ANSWERS.sub(fill, page)


def as_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; numbers are aligned right."""
    cells = [
        [as_text(name, value) for name, value in zip(columns, row, strict=True)] for row in rows
    ]
    is_number = [
        any(isinstance(row[i], int | float | Decimal) for row in rows) for i in range(len(columns))
    ]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [
        list(columns),
        [
            "-" * (width - right) + ":" * right
            for width, right in zip(widths, is_number, strict=True)
        ],
    ]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        )
        + " |"
        for line in [*lines, *cells]
    )


def as_text(column: str, value: Any) -> str:
    """A value for a reader, with thousands separators except in order numbers; null is empty."""
    if value is None:
        return ""
    if isinstance(value, float):  # a quotient in DuckDB, which the query rounds to one decimal
        return f"{value:,.1f}"
    if isinstance(value, int | Decimal) and not column.endswith("_number"):
        return f"{value:,}"
    return str(value)


def main() -> int:
    """Answer all questions and write the page; 1 where dbt or the warehouse cannot answer."""
    os.chdir(PROJECT)
    compiled = run_dbt("--quiet", "compile", "--select", "path:analyses")
    close_connections()  # dbt holds the file, which is read below
    if not compiled:
        print("questions: dbt cannot compile the analyses: run make build first.", file=sys.stderr)
        return 1
    path = os.environ.get("DUCKDB_PATH") or "warehouse.duckdb"
    with duckdb.connect(path, read_only=True) as warehouse:

        def answer_of(name: str) -> Answer:
            asked = warehouse.execute((COMPILED / f"{name}.sql").read_text("utf-8"))
            return [column[0] for column in asked.description or []], asked.fetchall()

        PAGE.write_text(answered(PAGE.read_text("utf-8"), answer_of), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
