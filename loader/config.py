"""The configuration file: team settings for a source.

--config or LOAD_CONFIG names it; else it is loader.yml in the current folder.

source: mysql://reader@shop.example/classicmodels   # the password comes from SOURCE_PASSWORD
target: postgres
raw_schema: raw_classicmodels
exclude: [tmp_*]
exclude_columns: [employees.extension]
hash_columns: [customers.phone]                     # the salt comes from LOAD_HASH_SALT
policy: evolve                                      # or freeze, ignore-new
mode: auto                                          # or full, diff, append
max_delete_share: 0.5
required: [models/]                                 # what dbt's sources declare must be there
accept:                                             # what is unknown from a day on, and why
  - {column: customers.creditLimit, from: 2026-12-01, because: the shop gives no credit any more}
keep_runs: 90                                       # days for which each run is recorded
tables:
  payments: {mode: append, cursor: paymentDate, overlap: 7}
expect:                                             # of make build and make watch, as is alerts
  orders: {newest: orderDate, newest_within: 3 days}
alerts:
  channels: [{url: "mailtos://shop:${SMTP_PASSWORD}@smtp.example?to=ops@example.com"}]
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from .errors import UsageError
from .options import MODES, POLICIES, Accepted, Options, TableOptions
from .required import read_required

DEFAULT_FILE = "loader.yml"
TARGETS = ("duckdb", "postgres", "redshift")
KEPT_DAYS = 90
_TABLE_KEYS = {"mode": str, "cursor": str, "overlap": int, "policy": str}
_ACCEPT_KEYS = {"column": str, "from": date, "because": str}
_KEYS: dict[str, Any] = {
    "source": str,
    "target": str,
    "raw_schema": str,
    "select": list,
    "exclude": list,
    "exclude_columns": list,
    "hash_columns": list,
    "strict": bool,
    "max_delete_share": (int, float),
    "required": (str, list),
    "accept": list,
    "keep_runs": int,
    "mode": str,
    "policy": str,
    "tables": dict,
    "expect": dict,
    "alerts": dict,
}


@dataclass(frozen=True)
class Config:
    """A configuration file that was read and checked."""

    source: str | None = None
    target: str | None = None
    raw_schema: str | None = None
    options: Options = field(default_factory=Options)
    # Days for which each run is recorded; of older ones there are sums by day.
    keep_runs: int = KEPT_DAYS
    # Not the loader's: pipeline.expectations and pipeline.alerts read them.
    expect: Mapping[str, Any] = field(default_factory=dict)
    alerts: Mapping[str, Any] = field(default_factory=dict)


def find_config(given: str | None = None) -> Config:
    """The configuration to use, with the salt from the environment; an empty name means none."""
    name = os.environ.get("LOAD_CONFIG") if given is None else given
    if name is None and Path(DEFAULT_FILE).is_file():
        name = DEFAULT_FILE
    config = read_config(Path(name)) if name else Config()
    options = replace(config.options, hash_salt=os.environ.get("LOAD_HASH_SALT"))
    return replace(config, options=options)


def read_config(path: Path) -> Config:
    """Read a configuration file. Raises UsageError that names the file and the key."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UsageError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The configuration {path} is not YAML: {' '.join(str(error).split())}."
        ) from None
    _check(found, _KEYS, str(path))
    _one_of(found.get("target", "duckdb"), TARGETS, str(path))
    if not 0 <= found.get("max_delete_share", 0) <= 1:
        raise UsageError(f"The configuration {path}: max_delete_share is a number from 0 to 1.")
    default = _table_options(found, f"{path}", TableOptions())
    keep_runs = found.get("keep_runs", KEPT_DAYS)
    if keep_runs < 1:
        raise UsageError(f"The configuration {path}: keep_runs is a number of days, 1 or more.")
    tables = {}
    for name, given in (found.get("tables") or {}).items():
        where = f"{path}, table {name}"
        _check(given, _TABLE_KEYS, where)
        tables[str(name)] = _table_options(given, where, default)
    plain = ("select", "exclude", "exclude_columns", "hash_columns", "strict", "max_delete_share")
    options = Options(
        default=default,
        tables=tables,
        accept=[_accepted(entry, f"{path}, accept") for entry in found.get("accept") or []],
        **{key: found[key] for key in plain if key in found},
    )
    if required := found.get("required"):
        entries = [required] if isinstance(required, str) else required
        where = f"The configuration {path}, required"
        options = replace(options, required=read_required(entries, path.parent, where))
    return Config(
        found.get("source"),
        found.get("target"),
        found.get("raw_schema"),
        options,
        keep_runs,
        found.get("expect") or {},
        found.get("alerts") or {},
    )


def _check(found: Any, keys: Mapping[str, Any], where: str) -> None:
    if not isinstance(found, dict):
        raise UsageError(f"The configuration {where} must be keys and values.")
    for key, value in found.items():
        if key not in keys:
            raise UsageError(
                f"The configuration {where} has an unknown key {key}; known: {', '.join(keys)}."
            )
        fits = isinstance(value, keys[key]) and (keys[key] is bool or not isinstance(value, bool))
        of = dict if key == "accept" else str
        if not fits or (isinstance(value, list) and not all(isinstance(v, of) for v in value)):
            raise UsageError(f"The configuration {where}: {key} cannot be {value!r}.")


def _accepted(entry: Mapping[str, Any], where: str) -> Accepted:
    _check(entry, _ACCEPT_KEYS, where)
    missing = [key for key in _ACCEPT_KEYS if not entry.get(key)]
    if missing or entry["column"].count(".") != 1:
        raise UsageError(
            f"The configuration {where}: each entry needs column (as table.column), from (a day)"
            f" and because; {f'{missing[0]} is missing' if missing else entry['column']}."
        )
    return Accepted(entry["column"], entry["from"], entry["because"])


def _table_options(given: Mapping[str, Any], where: str, default: TableOptions) -> TableOptions:
    options = replace(default, **{key: given[key] for key in _TABLE_KEYS if key in given})
    _one_of(options.mode, MODES, where)
    _one_of(options.policy, POLICIES, where)
    if options.overlap < 0:
        raise UsageError(f"The configuration {where}: overlap cannot be below zero.")
    return options


def _one_of(value: str, known: Collection[str], where: str) -> None:
    if value not in known:
        raise UsageError(f"The configuration {where}: {value} is not one of {', '.join(known)}.")
