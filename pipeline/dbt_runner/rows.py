"""What the project says of dbt's nodes and results: plain rows, without anything of dbt's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

GOOD = ("success", "pass", "no-op")


class DbtError(RuntimeError):
    """dbt could not run a command, or read a file; the text is what dbt says."""


@dataclass(frozen=True)
class Found:
    """What a test found: how many rows, of how much money where it knows, and the first ones."""

    count: int
    amount: Decimal | None = None
    rows: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """What became of one node of the project: a model, test, unit test, seed, snapshot or source.

    `kind` and `status` are dbt's own words. `selector` is what dbt's option `--select` takes.
    `rows_written` is for incremental marts only; it is None where dbt rebuilt or skipped one.
    `was_rebuilt`: its columns changed; `message` says which. `loaded_at` is for sources only: the
    newest row's time. `failures`, `sql` and `found` are for tests of rows only.
    """

    name: str
    kind: str
    status: str
    seconds: float = 0.0
    message: str = ""
    description: str = ""
    path: str = ""
    compiled_path: str = ""
    selector: str = ""
    is_incremental: bool = False
    rows_written: int | None = None
    was_rebuilt: bool = False
    loaded_at: datetime | None = None
    failures: int = 0
    sql: str = field(default="", repr=False)
    found: Found | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing failed, warned or was skipped."""
        return self.status in GOOD


@dataclass(frozen=True)
class Run:
    """What a dbt command did: whether it succeeded, and one result for each node."""

    succeeded: bool
    results: Sequence[Result]


@dataclass(frozen=True)
class Owner:
    """Who answers for a group of models or for an exposure."""

    name: str
    email: str


@dataclass(frozen=True)
class Group:
    """A group of models with one owner."""

    name: str
    description: str
    owner: Owner


@dataclass(frozen=True)
class Mart:
    """A model that others may read; `group` is the name of its group."""

    id: str
    name: str
    description: str
    group: str


@dataclass(frozen=True)
class Relation:
    """A model or snapshot in the database. `key` are the columns that name its rows, if known."""

    schema: str
    name: str
    key: Sequence[str]


@dataclass(frozen=True)
class Code:
    """The text of a model or macro of the project, and the names of the models that run it."""

    id: str
    path: str
    text: str
    models: Sequence[str]


@dataclass(frozen=True)
class Node:
    """A node of the project, of dbt's kinds. `table` is the raw table of a source, else empty.

    `is_view`: a view that stays when what it reads is built. `words` are those of its SQL and of
    the project's macros that it calls.
    """

    id: str
    name: str
    kind: str
    parents: Sequence[str]
    is_view: bool = False
    table: str = ""
    is_judged: bool = False  # a source whose freshness has limits
    words: frozenset[str] = field(default=frozenset(), repr=False)
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Exposure:
    """A dashboard, report or the like that reads marts; `reads` holds their ids."""

    label: str
    type: str
    maturity: str
    description: str
    owner: Owner
    reads: Sequence[str]
