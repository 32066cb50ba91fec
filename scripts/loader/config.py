"""The configuration file: what a team keeps about its source, so that nobody types it.

source: mysql://reader@shop.example/classicmodels   # the password comes from SOURCE_PASSWORD
target: postgres
raw_schema: raw_classicmodels
exclude: [tmp_*]
exclude_columns: [employees.extension]
hash_columns: [customers.phone]                     # the salt comes from LOAD_HASH_SALT
policy: evolve                                      # or freeze, ignore-new
mode: auto                                          # or full, diff, append
max_delete_share: 0.5
tables:
  payments: {mode: append, cursor: paymentDate, overlap: 7}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from .errors import UsageError
from .options import MODES, POLICIES, Options, TableOptions

_TABLE_KEYS = {"mode": str, "cursor": str, "overlap": int, "policy": str}
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
    "mode": str,
    "policy": str,
    "tables": dict,
}


@dataclass(frozen=True)
class Config:
    """A configuration file that was read and checked."""

    source: str | None = None
    target: str | None = None
    raw_schema: str | None = None
    options: Options = field(default_factory=Options)


def read_config(path: Path) -> Config:
    """Read a configuration file. Raises UsageError that names the file and the key."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UsageError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise UsageError(
            f"The configuration {path} is not YAML: {' '.join(str(error).split())}."
        ) from None
    _check(found, _KEYS, str(path))
    default = _table_options(found, f"{path}", TableOptions())
    tables = {}
    for name, given in (found.get("tables") or {}).items():
        where = f"{path}, table {name}"
        _check(given, _TABLE_KEYS, where)
        tables[str(name)] = _table_options(given, where, default)
    plain = ("select", "exclude", "exclude_columns", "hash_columns", "strict", "max_delete_share")
    options = Options(
        default=default, tables=tables, **{key: found[key] for key in plain if key in found}
    )
    return Config(found.get("source"), found.get("target"), found.get("raw_schema"), options)


def _check(found: Any, keys: Mapping[str, Any], where: str) -> None:
    if not isinstance(found, dict):
        raise UsageError(f"The configuration {where} must be keys and values.")
    for key, value in found.items():
        if key not in keys:
            raise UsageError(
                f"The configuration {where} has an unknown key {key}; known: {', '.join(keys)}."
            )
        if not isinstance(value, keys[key]) or (keys[key] is int and isinstance(value, bool)):
            raise UsageError(f"The configuration {where}: {key} cannot be {value!r}.")


def _table_options(given: Mapping[str, Any], where: str, default: TableOptions) -> TableOptions:
    options = replace(default, **{key: given[key] for key in _TABLE_KEYS if key in given})
    for value, known in ((options.mode, MODES), (options.policy, POLICIES)):
        if value not in known:
            raise UsageError(
                f"The configuration {where}: {value} is not one of {', '.join(known)}."
            )
    return options
