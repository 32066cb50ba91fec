"""How many faults of the SQL `dbt build` notices: makes them one at a time, and counts.

    python -m tools.mutate --only models/marts/core       (or python tools/mutate.py)

Each fault is one small change of a model or a macro (tools/faults.py). The unit tests of the models
that run it have to fail, or else the data tests on a full rebuild of them and of what reads them. A
fault that no test notices, and that leaves every mart as it was, counts as no fault: "same rows".
With --nulls each column of each mart is null in every row instead.

It makes a sample shop, loaded twice so that there is history, in target/mutate. What it found is
in outcomes.jsonl there; --resume goes on where a run ended, and runs again what survived.
tools/survivors.yml says which faults may survive and why. Exit status: 0 when no other did.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from unittest.mock import patch

import duckdb
import yaml

if not __package__:  # python tools/mutate.py
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from loader import DuckDBDestination, Options, load, run
from pipeline.dbt_packages import install_packages
from pipeline.dbt_runner import Code, Dbt, close_connections
from pipeline.project import MADE, PROJECT, raw_schema
from pipeline.target import chosen_warehouse
from sample_shop.shop import create_shop, play_events
from tools.faults import Fault, Maker, Schema, null_faults

FOLDER = MADE / "mutate"
REASONS = PROJECT / "tools" / "survivors.yml"
# What calculates; the other macros write, grant, test or name.
CALCULATES = (
    "models/",
    "macros/incremental/new_versions.sql",
    "macros/cross_db/integer_divide.sql",
)
NO_CALCULATION = ("contract_columns", "generate_schema_name", "reconciles", "snapshot_get_time")
# The shop's last day, and the two moments at which it was loaded.
DAY = date(2026, 11, 20)
LOADS = (datetime(2026, 11, 19, 6, 30), datetime(2026, 11, 20, 14, 5))
EVENTS = 40
NOTICED, SURVIVED, SAME, BROKEN = "noticed", "survived", "same rows", "broken"
# One thread costs less than four that wait for each other.
QUICK = ("--threads", "1", "--no-write-json", "--fail-fast")
NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")


class Laboratory:
    """A built DuckDB warehouse, and dbt, to try faults in.

    `loaded` is the warehouse as it was before its last build, for faults of incremental runs.
    """

    def __init__(self, dbt: Dbt, warehouse: Path, loaded: Path) -> None:
        self.dbt = dbt
        self._warehouse, self._loaded = warehouse, loaded
        self._built = warehouse.with_name("built.duckdb")
        self._build()
        self._marts = [mart.name for mart in dbt.marts()]
        self._digests = self._digest()

    def outcome(self, code: Code, fault: Fault) -> str:
        """What becomes of a fault."""
        with self.dbt.replaced(fault.node, fault.code):
            unit_tests = [f"{name},test_type:unit" for name in code.models]
            # They read few relations; to list all of them takes longer.
            tested = self.dbt.test("--no-populate-cache", "--select", *unit_tests)
            if not tested.succeeded:
                # An error is one of the database: the fault does not run.
                return NOTICED if any(r.status == "fail" for r in tested.results) else BROKEN
            return self._data_outcome(code, fault)

    def schema(self) -> Schema:
        """The columns of every relation."""
        with duckdb.connect(str(self._warehouse), read_only=True) as connection:
            columns = connection.execute(
                "select table_name, column_name, data_type from information_schema.columns"
                " order by table_schema, ordinal_position"
            ).fetchall()
        schema: dict[str, dict[str, str]] = defaultdict(dict)
        for table, column, kind in columns:
            schema[table][column] = kind
        return schema

    def _data_outcome(self, code: Code, fault: Fault) -> str:
        what = ["--full-refresh", "--select", *(f"{name}+" for name in code.models)]
        if fault.is_incremental:
            self._restore(self._loaded)
            what = []
        try:
            built = self.dbt.build(*NO_UNIT_TESTS, *what)
            if not built.succeeded:
                models = [r for r in built.results if r.kind == "model" and r.status == "error"]
                return BROKEN if models else NOTICED
            return SAME if self._digest() == self._digests else SURVIVED
        finally:
            self._restore(self._built)

    def _build(self) -> None:
        """Build what is loaded, unless an earlier run of the same code has."""
        known, code = self._built.with_suffix(".code"), self.dbt.code()
        if known.exists() and known.read_text("utf-8") == code:
            self._restore(self._built)
            return
        known.unlink(missing_ok=True)
        if self._loaded.exists():
            self._restore(self._loaded)
        built = self.dbt.build()
        close_connections()
        if not built.succeeded:
            wrong = [f"{r.name}: {r.message}" for r in built.results if not r.is_good]
            raise SystemExit(f"The project must be green before a fault is in it: {wrong}")
        shutil.copyfile(self._warehouse, self._built)
        known.write_text(code, "utf-8")

    def _restore(self, stored: Path) -> None:
        close_connections()
        restore(stored, self._warehouse)

    def _digest(self) -> Mapping[str, tuple[object, ...]]:
        """For each mart, what identifies its rows."""
        close_connections()
        with duckdb.connect(str(self._warehouse), read_only=True) as connection:
            return {
                mart: connection.execute(
                    f"select count(*), sum(cast(hash(t) as hugeint)) from marts.{mart} as t"
                ).fetchall()[0]
                for mart in self._marts
            }


def restore(stored: Path, warehouse: Path) -> None:
    """Let a warehouse be as a copy of it, without what a process that was killed left beside it."""
    warehouse.with_name(f"{warehouse.name}.wal").unlink(missing_ok=True)
    shutil.copyfile(stored, warehouse)


def sample_laboratory(folder: Path) -> Laboratory:
    """One over a sample shop that was loaded twice. What is in the folder already is used."""
    folder.mkdir(parents=True, exist_ok=True)
    warehouse, loaded = folder / "warehouse.duckdb", folder / "loaded.duckdb"
    os.environ.update(DUCKDB_PATH=str(warehouse), TARGET="duckdb")
    install_packages(PROJECT)
    variables = json.dumps({"as_of_date": str(DAY)})
    dbt = Dbt([*chosen_warehouse().options, "--vars", variables, *QUICK], lambda _: None)
    if not loaded.exists():
        shop = folder / "shop.sqlite"
        for path in folder.iterdir():
            path.unlink()
        create_shop(f"sqlite:///{shop}", as_of=DAY)
        load_at(LOADS[0], shop, warehouse)
        Laboratory(dbt, warehouse, loaded)
        play_events(f"sqlite:///{shop}", EVENTS, as_of=DAY)
        load_at(LOADS[1], shop, warehouse)
        warehouse.rename(loaded)
        (folder / "built.code").unlink()
    return Laboratory(dbt, warehouse, loaded)


def load_at(moment: datetime, shop: Path, warehouse: Path) -> None:
    """Load a shop as if it was that moment: versions begin with their load."""
    with patch.object(run, "_now", lambda: moment):
        load(f"sqlite:///{shop}", DuckDBDestination(raw_schema(), str(warehouse)), Options())


def chosen(
    codes: Sequence[Code], only: str, schema: Schema, seed: int
) -> Iterator[tuple[Code, Fault]]:
    """The faults of every model and macro whose path begins with `only`."""
    for code in sorted(codes, key=lambda code: (code.path, code.id)):
        name = code.id.rpartition(".")[2]
        is_calculating = code.path.startswith(CALCULATES) or (
            code.path.count("/") == 1 and name not in NO_CALCULATION
        )
        if code.models and is_calculating and code.path.startswith(only):
            file = (PROJECT / code.path).read_text("utf-8")
            for fault in Maker(code.id, code.path, code.text, schema, file, seed).faults():
                yield code, fault


def null_columns(codes: Sequence[Code], only: str, schema: Schema) -> Iterator[tuple[Code, Fault]]:
    """For every column of every mart the fault that it is null in every row."""
    for code in sorted(codes, key=lambda code: code.path):
        if code.path.startswith("models/marts/") and code.path.startswith(only):
            for fault in null_faults(code.id, code.path, code.text, schema[Path(code.path).stem]):
                yield code, fault


class Journal:
    """What became of each fault, written down at once: a run may be stopped and resumed."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = path
        self.outcomes: dict[str, str] = {}
        if not resume:
            path.unlink(missing_ok=True)
        elif path.exists():
            self.outcomes.update(map(json.loads, path.read_text("utf-8").splitlines()))

    def is_settled(self, fault: Fault) -> bool:
        """Whether there is nothing left to try: other tests may notice what survived before."""
        return self.outcomes.get(fault.name, SURVIVED) != SURVIVED

    def note(self, fault: Fault, outcome: str) -> None:
        """Remember the outcome of a fault."""
        self.outcomes[fault.name] = outcome
        with self._path.open("a", encoding="utf-8") as file:
            print(json.dumps([fault.name, outcome]), file=file)


def reason(fault: Fault, reasons: Sequence[Mapping[str, str]]) -> str:
    """Why a fault may survive; empty when nobody says so. A `*` in an entry is any text."""
    for entry in reasons:
        pattern = entry["fault"].replace("[", "[[]").replace("?", "[?]")
        if fnmatchcase(fault.name, pattern):
            return entry["because"]
    return ""


def report(faults: Sequence[Fault], outcomes: Mapping[str, str], explained: set[str]) -> str:
    """A table with a row for each folder, and one for all."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for fault in faults:
        for folder in (fault.path.rpartition("/")[0], "all"):
            counts[folder][outcomes[fault.name]] += 1
            counts[folder]["with a reason"] += fault.name in explained
    columns = (NOTICED, SURVIVED, "with a reason", SAME, BROKEN)
    lines = [
        "| folder | faults | " + " | ".join(columns) + " | rate |",
        "|---|" + "---:|" * (len(columns) + 2),
    ]
    for folder, count in sorted(counts.items(), key=lambda item: (item[0] == "all", item[0])):
        felt = count[NOTICED] + count[SURVIVED]
        figures = [felt + count[SAME] + count[BROKEN], *(count[column] for column in columns)]
        rate = f"{100 * count[NOTICED] / felt:.1f} %" if felt else ""
        lines.append(f"| {folder} | " + " | ".join(map(str, figures)) + f" | {rate} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the faults; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="PATH", help="a folder or file to change")
    parser.add_argument("--limit", type=int, help="how many faults, drawn by chance (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="which of them, and which columns")
    parser.add_argument("--nulls", action="store_true", help="make each column of each mart null")
    parser.add_argument("--resume", action="store_true", help="go on; run survivors again")
    parser.add_argument("--list", action="store_true", help="list the faults; run nothing")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    laboratory = sample_laboratory(FOLDER)
    codes, schema = laboratory.dbt.codes(), laboratory.schema()
    if options.nulls:
        tried = list(null_columns(codes, options.only, schema))
    else:
        tried = list(chosen(codes, options.only, schema, options.seed))
    if options.limit:
        # A larger limit adds to the faults of a smaller one.
        numbers = list(range(len(tried)))
        random.Random(options.seed).shuffle(numbers)
        tried = [tried[number] for number in sorted(numbers[: options.limit])]
    if options.list:
        print("\n".join(f"{fault.line:5}  {fault.name}" for _, fault in tried))
        return 0
    name = "nulls.jsonl" if options.nulls else "outcomes.jsonl"
    journal = Journal(FOLDER / name, resume=options.resume)
    try_all(laboratory, tried, journal)

    faults = [fault for _, fault in tried]
    survivors = [fault for fault in faults if journal.outcomes[fault.name] == SURVIVED]
    reasons = yaml.safe_load(REASONS.read_text("utf-8")) or []
    why = {fault.name: reason(fault, reasons) for fault in survivors}
    for fault in survivors:
        print(f"{fault.path}:{fault.line}: {fault.kind}: {fault.before} -> {fault.after}")
        print(f"    {why[fault.name] or 'no test notices it'}")
    print(report(faults, journal.outcomes, {name for name, text in why.items() if text}))
    return 0 if all(why.values()) else 1


def try_all(laboratory: Laboratory, tried: Sequence[tuple[Code, Fault]], journal: Journal) -> None:
    """Try each fault that the journal does not know, and say how far that is."""
    began, counts = time.monotonic(), Counter[str]()
    for number, (code, fault) in enumerate(tried, start=1):
        if not journal.is_settled(fault):
            journal.note(fault, laboratory.outcome(code, fault))
        counts[journal.outcomes[fault.name]] += 1
        if sys.stderr.isatty() or number % 25 == 0 or number == len(tried):
            minutes = (time.monotonic() - began) / 60
            said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            end = "\r" if sys.stderr.isatty() else "\n"
            print(
                f"{number}/{len(tried)} faults, {minutes:.0f} min: {said}", end=end, file=sys.stderr
            )


if __name__ == "__main__":
    sys.exit(main())
