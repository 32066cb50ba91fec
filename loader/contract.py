"""What the models read must be there: a load without it publishes nothing, and says why."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from itertools import islice

from .destinations import Destination
from .drift import Schemas, declared
from .errors import LoadError, UsageError
from .fitting import arrives, remedy, takes
from .options import Options, column_matches
from .ranges import Scope
from .schema import METADATA_COLUMNS, TEXT, Column, Table, Type
from .selection import Unread, without_news
from .sources import Source
from .wire import NULL, Block, Issues

# Rows whose values are compared to see whether a column, or a table, was renamed.
MOST_ROWS = 1_000_000
# What must agree of them; the rest may have changed since the last load.
SHARE = 0.9
# Marts that a message names; the others are counted.
MOST_MARTS = 5


class ContractError(LoadError):
    """The source lacks what the models read; `gone` are the raw tables that it has no longer."""

    def __init__(self, text: str, gone: Sequence[str]) -> None:
        super().__init__(text)
        self.gone = gone


@dataclass
class Checker:
    """Compares what a source has with what the models read; `known`: as the last load saw it."""

    source: Source
    destination: Destination
    options: Options
    known: Schemas
    today: date
    problems: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def check(self, tables: list[Table], unread: Unread) -> list[Table]:
        """The tables, with the accepted columns noted that the source does not have.

        `unread`: what of the source is not loaded, and why, as `chosen_tables` finds it. Raises
        ContractError with everything that is missing; UsageError for an accepted column that nobody
        knows.
        """
        self._check_accepted(tables)
        required = self.options.required.tables
        checked = [self._with_unknown(table, required.get(table.raw_name, {})) for table in tables]
        for name in required.keys() - {table.raw_name for table in tables}:
            self._table(name, tables, unread)
        if self.problems:
            raise ContractError(f"{' '.join(self.problems)} Nothing was published.", self.gone)
        return checked

    def _check_accepted(self, tables: list[Table]) -> None:
        there = {
            f"{t.raw_name}.{c.raw_name}": f"{t.name}.{c.name}" for t in tables for c in t.columns
        }
        read = {
            f"{table}.{column}"
            for table, columns in self.options.required.tables.items()
            for column in columns
        }
        for accepted in self.options.accept:
            name = accepted.column.lower()
            table, _, column = name.partition(".")
            if name in there:
                self.source.warnings.append(
                    f"The source has the column {there[name]} (again): remove it from accept."
                )
            elif name not in read and column not in (self.destination.columns(table) or {}):
                raise UsageError(
                    f"accept: {accepted.column}: neither the models nor the warehouse have such a"
                    " column; write table.column."
                )

    def _table(self, name: str, tables: list[Table], unread: Unread) -> None:
        needed = self._needed(name)
        if name not in unread:
            self.gone.append(name)
            became = self._renamed_table(name, tables)
            became = (
                f"has renamed to {became}" if became else "does not have (or its user may not see)"
            )
            self.problems.append(
                f"The models read the table {name}, which the source {became}{needed}: bring it"
                " back under its name, or change the models."
            )
        elif unread[name] and not self.options.select:
            self.problems.append(
                f"The models read the table {name}, which in the source is {unread[name]}{needed}."
            )
        elif not self.options.select or self.destination.columns(name) is None:
            self.problems.append(
                f"The models read the table {name}, which --select or --exclude (or the"
                f" configuration) leaves out{needed}: let it be loaded."
            )

    def _with_unknown(self, table: Table, columns: Mapping[str, Type | None]) -> Table:
        there = {column.raw_name: column for column in table.columns}
        held = self.destination.columns(table.raw_name) or {}
        # An accepted column is not null from then on, whether models are known or not.
        named = [accepted.column.lower().partition(".") for accepted in self.options.accept]
        unknown = {
            name: held.get(name) or TEXT
            for of, _, name in named
            if of == table.raw_name and name not in there and self._accepts(table, name)
        }
        kept = without_news([table], self.options, self.known)
        left = {column.raw_name for of_table in kept for column in of_table.columns}
        for name, wanted in columns.items():
            column = there.get(name)
            if name in unknown:
                unknown[name] = wanted or unknown[name]
            elif column is None:
                self._column(table, name)
            elif name not in left:
                self.problems.append(
                    f"The models read {table.name}.{column.name}, which is new in the source and"
                    " left out by the policy ignore-new: use evolve for this table."
                )
            elif wanted is not None and takes(wanted, arrives(column)) is False:
                was = self.known.get(table.raw_name, {}).get(name)
                before = f" (before: {was})" if was and was != declared(column) else ""
                hint = remedy(self.source, table, column, wanted)
                self.problems.append(
                    f"The column {table.name}.{column.name} is {column.declared} in the"
                    f" source{before}, of which the models cannot make {wanted}"
                    f"{self._needed(table.raw_name, name)}: {hint}."
                )
            elif respelled := self._respelled(table, column):
                self.problems.append(
                    f"{respelled}{self._needed(table.raw_name, name)}:"
                    f" {remedy(self.source, table, column, TEXT)}; or, if they are right now, load"
                    f" it once with --full-refresh --select {table.name}."
                )
            elif other := self._took_over(table, column):
                self.problems.append(
                    f"{other}, so the source has renamed columns, or given one the name of"
                    f" another{self._needed(table.raw_name, name)}: rename them back; or, if"
                    f" {table.name}.{column.name} is right now, load it once with --full-refresh"
                    f" --select {table.name}."
                )
        return replace(table, unknown=tuple(unknown.items()))

    def _accepts(self, table: Table, name: str) -> bool:
        full = f"{table.raw_name}.{name}"
        found = next((a for a in self.options.accept if a.column.lower() == full), None)
        if found is None or found.since > self.today:
            return False
        if self.options.full_refresh and self.destination.columns(table.raw_name) is not None:
            raise UsageError(
                f"--full-refresh would lose the values of {full}, which the source no longer has"
                " and accept lets stay as they are: load without it."
            )
        self.source.warnings.append(
            f"The source does not have {found.column}, which is accepted since {found.since}"
            f" ({found.because}): its values stay as they were, and new rows have none."
        )
        return True

    def _column(self, table: Table, name: str) -> None:
        needed = self._needed(table.raw_name, name)
        if column_matches(self.options.exclude_columns, table.name, name):
            self.problems.append(
                f"The models read {table.name}.{name}, which --exclude-columns leaves out{needed}:"
                " hash it instead, or let it be loaded."
            )
            return
        was = self.known.get(table.raw_name, {}).get(name)
        renamed = self.renamed_column(table, name)
        if renamed:
            became = f"has renamed to {renamed}"
        elif table.shows_part:
            became = "does not have, or its user may not read (grant SELECT on it)"
        elif was:
            became = f"does not have any more (it was {was})"
        else:
            near = get_close_matches(name, [c.raw_name for c in table.columns], n=1)
            became = f"does not have (is it {near[0]}?)" if near else "does not have"
        self.problems.append(
            f"The models read {table.name}.{name}, which the source {became}{needed}: bring it"
            " back, change the models, or accept in loader.yml that it is unknown from now on:"
            f" accept: [{{column: {table.name}.{name}, from: {self.today}, because: ...}}]."
        )

    def _needed(self, table: str, column: str | None = None) -> str:
        marts = self.options.required.marts(table, column)
        if not marts:
            return ""
        more = f" and {len(marts) - MOST_MARTS} more" if len(marts) > MOST_MARTS else ""
        return f"; it is needed by {', '.join(marts[:MOST_MARTS])}{more}"

    # -- what became of it -------------------------------------------------------------------------

    def rekeyed(self, table: Table) -> str:
        """What to say when rows cannot be found again because the key's column is a new one."""
        before = self.known.get(table.raw_name, {})
        new = [column for column in table.key_columns if before and column.raw_name not in before]
        if not new:
            return ""
        gone = [name for name in before if name not in {c.raw_name for c in table.columns}]
        for name in gone:
            renamed = self.renamed_column(table, name)
            if renamed:
                return (
                    f"the source has renamed its key column {name} to {renamed}: rename it back, or"
                    " load the table again with --full-refresh"
                )
        names = ", ".join(column.name for column in new)
        return f"its key is {names} now, which is new: load the table again with --full-refresh"

    def renamed_column(self, table: Table, gone: str) -> str:
        """The new column that has the type, the place and the values of one that is gone, or ""."""
        for column in self._in_its_place(table, gone):
            if column.raw_name not in self.known.get(table.raw_name, {}):
                agree, rows = self._has_values_of(table, column, gone)
                if agree >= rows * SHARE:
                    return (
                        f"{column.name} (same type and place, same values in {agree} of {rows}"
                        " rows)"
                    )
        return ""

    def _took_over(self, table: Table, column: Column) -> str:
        """That another column has the place and the values that a column had, or "".

        Two columns that exchanged their names are both there, with the right types.
        """
        if self.options.full_refresh or column.hashed:
            return ""
        for other in self._in_its_place(table, column.raw_name):
            agree, rows = self._has_values_of(table, other, column.raw_name)
            if rows and agree >= rows * SHARE:
                still, _ = self._has_values_of(table, column, column.raw_name)
                if still < agree:
                    return (
                        f"The column {table.name}.{other.name} has the values that {column.name}"
                        f" had ({agree} of {rows} rows; {column.name} itself has {still})"
                    )
        return ""

    def _respelled(self, table: Table, column: Column) -> str:
        """That a column of text has another type, in which no value is as it was, or "".

        Such as JSON, which arrives as text too, but has quotes around each value.
        """
        was = self.known.get(table.raw_name, {}).get(column.raw_name, "")
        is_text = column.type == TEXT and not column.hashed
        if self.options.full_refresh or not is_text or _plain(was) == _plain(declared(column)):
            return ""
        # Last, as a watch comes here with each text column of each batch.
        held = self.destination.columns(table.raw_name) or {}
        if held.get(column.raw_name) != TEXT:
            return ""
        agree, values = self._has_values_of(table, column, column.raw_name, without_nulls=True)
        if agree >= values * (1 - SHARE):
            return ""
        return (
            f"The column {table.name}.{column.name} is {column.declared} in the source (before:"
            f" {was}), and only {agree} of its {values} values are as they were"
        )

    def _in_its_place(self, table: Table, name: str) -> Iterator[Column]:
        """Other columns of the type of one that was there, in the place that it had."""
        known = self.known.get(table.raw_name, {})
        held = self.destination.columns(table.raw_name) or {}
        if name not in known or name not in held:
            return
        before = [other for other in held if other not in METADATA_COLUMNS and other in known]
        now = [column.raw_name for column in table.columns]
        stayed = [other for other in before if other in now]
        order = dict(zip(stayed, (other for other in now if other in stayed), strict=True))
        for column in table.columns:
            is_like_it = (
                column.raw_name != name
                and _plain(declared(column)) == _plain(known[name])
                and held[name] == column.type
                and not column.hashed
            )
            is_new = column.raw_name not in known
            if is_like_it and (
                _same_place(before, name, now, column.raw_name)
                if is_new
                else order.get(name) == column.raw_name
            ):
                yield column

    def _has_values_of(
        self, table: Table, column: Column, name: str, *, without_nulls: bool = False
    ) -> tuple[int, int]:
        """How many rows have in a column the value that the warehouse has in another, of how many.

        Where the key stayed, it says which rows.
        """
        held = self.destination.columns(table.raw_name) or {}
        key = tuple(
            c
            for c in table.key_columns
            if held.get(c.raw_name) == c.type and not c.hashed and c.name != column.name
        )
        return self._agree(
            replace(table, columns=(*key, column), key=()),
            replace(table, columns=(*key, replace(column, raw_name=name)), key=()),
            NULL if without_nulls else b"",
        )

    def _renamed_table(self, gone: str, tables: list[Table]) -> str:
        known, held = self.known.get(gone), self.destination.columns(gone) or {}
        for table in tables:
            names = {column.raw_name for column in table.columns}
            if not known or self.known.get(table.raw_name) or names != known.keys():
                continue
            columns = tuple(
                c for c in table.columns if held.get(c.raw_name) == c.type and not c.hashed
            )
            if not columns:
                continue
            ours = replace(table, columns=columns, key=())
            agree, rows = self._agree(ours, replace(ours, raw_name=gone))
            if agree >= rows * SHARE:
                return f"{table.name} (same columns, same values in {agree} of {rows} rows)"
        return ""

    def _agree(self, here: Table, there: Table, without: bytes = b"") -> tuple[int, int]:
        """How many rows of the warehouse the source has too, and of how many.

        `without`: rows that have this in their last column do not count.
        """
        ours = Counter(_lines(self.source.read(here, Scope(), Issues(here))))
        theirs = Counter(
            line
            for line in _lines(self.destination.held(there))
            if not without or line.rpartition(b"\t")[2] != without
        )
        return (ours & theirs).total(), theirs.total()


def _lines(blocks: Iterable[Block]) -> Iterator[bytes]:
    lines = (line for block in blocks for line in block.data.split(b"\n")[:-1])
    return islice(lines, MOST_ROWS)


def _plain(text: str) -> str:
    return text.removesuffix(" not null")


def _same_place(before: Sequence[str], gone: str, now: Sequence[str], new: str) -> bool:
    """Whether a column has the place of another: by number, or between the same neighbours."""
    places = before.index(gone), now.index(new)
    around = [
        (names[place - 1] if place else None, names[place + 1] if place + 1 < len(names) else None)
        for names, place in zip((before, now), places, strict=True)
    ]
    return places[0] == places[1] or around[0] == around[1]
