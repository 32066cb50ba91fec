"""Reads profiles.yml: which output dbt would use, and what it says.

To import dbt takes longer than a build that has nothing to do. So plain outputs are read here, and
dbt reads the others: with fields or Jinja that this module does not know, or with a mistake, which
dbt explains.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class ProfileFileError(RuntimeError):
    """profiles.yml cannot be read; the text is what the reader says."""


@dataclass(frozen=True)
class Output:
    """One output of a profile. `settings` are its fields as dbt understands them."""

    name: str
    kind: str
    schema: str
    database: str
    is_default: bool
    settings: dict[str, Any] = field(repr=False)


# By kind of warehouse: the fields without which there is none, and others that change neither which
# database is meant nor how to reach it.
NEEDED = {"duckdb": {"path", "schema"}, "postgres": {"host", "user", "password", "port", "schema"}}
OTHERS = {
    "duckdb": {"threads", "settings", "extensions", "retries", "keep_open"},
    "postgres": {
        *("threads", "connect_timeout", "keepalives_idle", "application_name", "retries"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert"),
    },
}
ALIASES = {"postgres": {"dbname": "database", "pass": "password"}}
# Fields that are about the way to a warehouse: its place, the login, secrets.
WAY = re.compile("path|host|port|user|database|dbname|pass|token|secret|key|cert|ssl")


def read_profile(profiles: Path, profile: str) -> dict[str, Any] | None:
    """A profile of profiles.yml in a folder; None without it. Raises ProfileFileError."""
    file = profiles / "profiles.yml"
    if not file.is_file():
        return None
    try:
        found = yaml.load(
            file.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProfileFileError(str(error)) from error
    content = found.get(profile) if isinstance(found, dict) else None
    return content if isinstance(content, dict) else None


def read_plain_output(profile: dict[str, Any], name: str | None) -> Output | None:
    """The output `name` of a profile, or its default one; None where dbt has to read it."""
    try:
        default = _rendered(profile.get("target", "default"))
        chosen = name or default
        given = {key: value for key, value in profile["outputs"][chosen].items() if key != "type"}
        kind = profile["outputs"][chosen]["type"]
        aliases = ALIASES.get(kind, {})
        settings = {aliases.get(key, key): value for key, value in given.items()}
        if len(settings) < len(given) or not NEEDED[kind] <= settings.keys():
            return None
        if not settings.keys() <= NEEDED[kind] | OTHERS[kind] | {"database"}:
            return None
        for key in NEEDED[kind] | {"database", "sslmode", "sslcert", "sslkey", "sslrootcert"}:
            if key in settings:
                settings[key] = (
                    _number(settings[key]) if key == "port" else _rendered(settings[key])
                )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    if kind == "duckdb":
        path = settings["path"]
        database = Path(path).name.lstrip(".").split(".")[0]
        if urlsplit(path).scheme or path == ":memory:" or not database:
            return None
        if settings.setdefault("database", database) != database:
            return None
    elif not settings.get("database"):
        return None
    else:
        absent = ("sslmode", "sslcert", "sslkey", "sslrootcert")
        settings = dict.fromkeys(absent) | settings
    is_default = name in (None, default)
    return Output(chosen, kind, settings["schema"], settings["database"], is_default, settings)


def behaviour(output: Mapping[str, Any]) -> str:
    """The fields of an output that decide how dbt works in it, as the file has them.

    Not where it is and who logs in: the same warehouse is reached in different ways.
    """
    return repr(sorted((k, v) for k, v in output.items() if not WAY.search(str(k))))


def _number(value: Any) -> int:
    return value if isinstance(value, int) else int(_rendered(value, is_number=True))


def _rendered(value: Any, *, is_number: bool = False) -> str:
    """A text with its Jinja, of which only env_var is known. Raises ValueError for others."""
    if not isinstance(value, str):
        raise ValueError("dbt knows what it is")
    if "{" in value:
        from jinja2 import StrictUndefined, TemplateError
        from jinja2.sandbox import SandboxedEnvironment

        jinja = SandboxedEnvironment(undefined=StrictUndefined)
        jinja.filters |= {"as_number": str} if is_number else {}
        try:
            value = jinja.from_string(value).render(env_var=_env_var)
        except TemplateError as error:
            raise ValueError(str(error)) from error
        if value == "None":  # dbt takes it for nothing, or for a word
            raise ValueError(value)
    elif is_number:
        raise ValueError("dbt knows whether a text can be a number")
    return str(value)


def _env_var(name: str, default: str | None = None) -> str:
    found = os.environ.get(name, default)
    if found is None or name.startswith("DBT_ENV_SECRET_"):
        raise ValueError(f"dbt says what {name} is")
    return found
