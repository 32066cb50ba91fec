"""What dbt makes of the project's templates, settings and rows for each node again."""

from __future__ import annotations

import re
from collections import ChainMap
from types import CodeType, SimpleNamespace
from typing import Any

from pipeline.dbt_runner.speed.patch import patch

# Templates by the class of their environment and their text.
TEMPLATES: dict[tuple[str, str], CodeType] = {}
# Blanks and comments, and the word after which a query names its steps.
_BEGINS_WITH = re.compile(
    r"(?:\s|--[^\n]*\n|/\*(?:(?!\*/|/\*).)*\*/)*with\b(?!\s+recursive\b)\s*",
    re.IGNORECASE | re.DOTALL,
)
# Lines that cannot end a statement: whole comments, or lines of a text or comment that goes on.
_COMMENT_LINES = re.compile(r"^[ \t]*--[^\n'\"*$`]*$", re.MULTILINE)
# Schemas of settings by the name of their class.
SCHEMAS: dict[str, Any] = {}


def keep_templates() -> None:
    """Let each text be compiled once."""
    patch("dbt_common.clients.jinja", "MacroFuzzEnvironment.compile", _compiled_once)


def _compiled_once(jinjas_own: Any) -> Any:
    """Relies on the code of a template being that of its text and of the class of its environment.

    dbt gives each of its environments the same filters and extensions.
    """
    from dbt_common.clients import jinja

    is_debugged = bool(jinja.MACRO_DEBUGGING)

    def compile_once(environment: Any, source: Any, *names: Any, **options: Any) -> Any:
        # To debug macros dbt writes the code of each into a file of its own.
        if names or options or not isinstance(source, str) or is_debugged:
            return jinjas_own(environment, source, *names, **options)
        key = (type(environment).__name__, source)
        if key not in TEMPLATES:
            TEMPLATES[key] = jinjas_own(environment, source)
        return TEMPLATES[key]

    return compile_once


def read_words_in_place() -> None:
    """Let a template that gives a value read the words of its node where they are."""
    patch("dbt_common.clients.jinja", "NativeSandboxTemplate.new_context", _words_in_place)


def _words_in_place(jinjas_own: Any) -> Any:
    """Relies on a template reading words by their names only.

    dbt does the same in templates that give text. For those that give a value, which are the
    arguments of tests, Jinja copies a thousand words twice.
    """

    def new_context(template: Any, words: Any = None, *more: Any, **options: Any) -> Any:
        if more or options or words is None:
            return jinjas_own(template, words, *more, **options)
        environment, words = template.environment, ChainMap(words, template.globals)
        return environment.context_class(environment, words, template.name, template.blocks)

    return new_context


def keep_schemas() -> None:
    """Let the schema of each class of settings be made once."""
    patch("dbt_common.dataclass_schema", "dbtClassMixin.json_schema", _schema_made_once)


def _schema_made_once(dbts_own: Any) -> Any:
    """Relies on the schema of a class being that of its code: dbt checks settings with it."""

    def json_schema(cls: Any) -> Any:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name not in SCHEMAS:
            SCHEMAS[name] = dbts_own(cls)
        return SCHEMAS[name]

    return json_schema


def add_ctes() -> None:
    """Let the rows of a unit test be put before its model without parsing the SQL."""
    patch("dbt.compilation", "inject_ctes_into_sql", _added_after_with)


def _added_after_with(dbts_own: Any) -> Any:
    """Relies on CTEs being added right after a `with` with which the one statement begins.

    dbt parses all of the SQL to find that word: a third of the time of unit tests.
    """

    def inject_ctes_into_sql(sql: str, ctes: Any) -> Any:
        found = None if ";" in _COMMENT_LINES.sub("", sql) else _BEGINS_WITH.match(sql)
        if not (ctes and found):
            return dbts_own(sql, ctes)
        return f"{found[0]}{', '.join(cte.sql for cte in ctes)}, {sql[found.end() :]}"

    return inject_ctes_into_sql


def write_json() -> None:
    """Let artifacts be written by the part of json that is compiled; manifest.json has 3 MB."""
    patch("dbt_common.clients.system", "json", _written_as_a_whole)


def _written_as_a_whole(pythons_own: Any) -> Any:
    """Relies on `dumps` making the same text as `dump`, which does it in Python."""

    def dump(content: Any, file: Any, **options: Any) -> None:
        file.write(pythons_own.dumps(content, **options))

    return SimpleNamespace(**{**vars(pythons_own), "dump": dump})


def compare_rows() -> None:
    """Let equal rows of a unit test be found equal without a search for differences."""
    patch("dbt.task.test", "TestRunner._get_daff_diff", _equal_at_once)


def _equal_at_once(dbts_own: Any) -> Any:
    """Relies on rows with equal values having no difference, whatever dbt looks at."""
    from dbt.task.test import list_rows_from_table

    def get_daff_diff(runner: Any, expected: Any, actual: Any, ordered: bool = False) -> Any:
        # As texts, because 1, true and 1.0 are equal.
        if not ordered and repr(list_rows_from_table(expected, sort=True)) == repr(
            list_rows_from_table(actual, sort=True)
        ):
            return SimpleNamespace(hasDifference=lambda: False)
        return dbts_own(runner, expected, actual, ordered)

    return get_daff_diff
