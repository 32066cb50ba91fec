"""Where the project's files are, and what its settings say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
MADE = PROJECT / "target"  # what dbt and a build write
WORKING = "working"  # the schema in which a build works on PostgreSQL, before it is published


def shown(path: Path) -> str:
    """A path for people: in the project relative to it, else whole."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def project_settings(project: Path = PROJECT) -> dict[str, Any]:
    """What dbt_project.yml says."""
    return _parsed((project / "dbt_project.yml").read_text("utf-8"))


@cache
def _parsed(text: str) -> dict[str, Any]:
    """The settings in a text. A build asks for them twenty times, which took 0.4 seconds."""
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def raw_schema(project: Path = PROJECT) -> str:
    """The schema from which the dbt project reads the raw tables."""
    return str(project_settings(project)["vars"]["raw_schema"])


def schema_name(default: str, name: str) -> str:
    """The full name of the project's schema `name` in a target whose own schema is `default`.

    It follows the same rule as the macro generate_schema_name.
    """
    return name if default in ("main", "public") else f"{default}_{name}"


def own_schemas(project: Path, default: str) -> set[str]:
    """The schemas that the project writes to, in a target whose own schema is `default`."""
    named = {schema_name(default, name) for name in _values(project_settings(project), "+schema")}
    return {raw_schema(project), *named}


def _values(settings: Any, key: str) -> Iterator[str]:
    """Every value of a key in nested settings."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name == key:
                yield value
            else:
                yield from _values(value, key)


def is_set(variable: str) -> bool:
    """Whether an environment variable that switches something on has a value other than 0."""
    return os.environ.get(variable, "") not in ("", "0")
