"""Turns what dbt knows of the project, and what it says of a run, into plain rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pipeline.dbt_runner.rows import Node, Owner, Result

# The codes that the macro report_outcome gives to a model of which it counted the rows, and to one
# that dbt rebuilt because its columns changed.
ROWS_WERE_COUNTED, WAS_REBUILT = "WRITTEN", "REBUILT"
# dbt colours what a unit test found other than it expected, also where no terminal shows it.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def nodes_of(manifest: Any) -> list[Node]:
    """The nodes of a manifest that a build can run, its unit tests, and the sources."""
    texts = macro_texts(manifest)
    found = [
        Node(
            source.unique_id,
            source.name,
            "source",
            (),
            table=source.identifier.lower(),
            is_judged=source.has_freshness,
        )
        for source in manifest.sources.values()
    ]
    for node in manifest.nodes.values():
        if node.resource_type not in ("model", "snapshot", "seed", "test"):
            continue
        metadata = getattr(node, "test_metadata", None)
        given = f"{metadata.kwargs if metadata else ''} {node.config.get('where') or ''}"
        parts = [node.raw_code, given]
        called = set().union(*(called_macros(part, texts) for part in parts))
        parts += [texts[name] for name in called]
        found.append(
            Node(
                node.unique_id,
                node.name,
                str(node.resource_type),
                node.depends_on_nodes,
                is_view=_is_lasting_view(manifest, node),
                words=frozenset().union(*map(words, parts)),
                tags=frozenset(node.tags),
            )
        )
    found += [
        Node(test.unique_id, test.name, "unit_test", ()) for test in manifest.unit_tests.values()
    ]
    return found


def result_of(found: Any) -> Result:
    """What dbt says of one node, as a plain row."""
    node = found.node
    kind = str(node.resource_type)
    # What intermediate models keep is not a row of a mart.
    is_mart = kind == "model" and "marts" in node.fqn
    is_incremental = is_mart and node.config.materialized == "incremental"
    answer = found.adapter_response
    was_counted = is_incremental and answer.get("code") == ROWS_WERE_COUNTED
    return Result(
        name=node.name,
        kind=kind,
        status=str(found.status),
        seconds=found.execution_time,
        message=COLOURS.sub("", str(found.message or "")),
        description=one_line(node.description),
        path=node.original_file_path,
        compiled_path=getattr(node, "compiled_path", None) or "",
        selector=f"source:{node.source_name}.{node.name}" if kind == "source" else node.name,
        is_incremental=is_incremental,
        rows_written=answer["rows_affected"] if was_counted else None,
        was_rebuilt=is_incremental and answer.get("code") == WAS_REBUILT,
        loaded_at=getattr(found, "max_loaded_at", None),
        failures=getattr(found, "failures", None) or 0,
        sql=(getattr(node, "compiled_code", None) or "") if kind == "test" else "",
    )


def _is_lasting_view(manifest: Any, node: Any) -> bool:
    """Whether no table below a view is replaced by each build, with which PostgreSQL drops it."""
    parents = [manifest.nodes[name] for name in node.depends_on_nodes if name in manifest.nodes]
    return node.config.materialized == "view" and all(
        _is_lasting_view(manifest, parent)
        for parent in parents
        if parent.config.materialized in ("view", "table")
    )


def macro_texts(manifest: Any) -> dict[str, str]:
    """The text of each macro of the project, with those that are dispatched by their name."""
    texts: dict[str, str] = {}
    for macro in own_macros(manifest):
        # A call of a dispatched macro names it without the adapter.
        name = macro.name.rpartition("__")[2]
        texts[name] = texts.get(name, "") + macro.macro_sql
    return texts


def own_macros(manifest: Any) -> list[Any]:
    """The macros of the project itself."""
    project = manifest.metadata.project_name
    return [m for m in manifest.macros.values() if m.package_name == project]


def called_macros(text: str, macros: Mapping[str, str]) -> set[str]:
    """The macros that a text calls, also through others; dbt knows only those it has rendered."""
    found: set[str] = set()
    left = [text]
    while left:
        more = called_words(left.pop()) & macros.keys() - found
        found |= more
        left += [macros[word] for word in more]
    return found


# A hundred tests have the same text and call the same macros.
@lru_cache(maxsize=2000)
def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(re.findall(r"\w+", text))


@lru_cache(maxsize=2000)
def called_words(text: str) -> frozenset[str]:
    """The words of a text that a bracket follows."""
    return frozenset(re.findall(r"(\w+)\(", text))


def owner_of(thing: Any) -> Owner:
    """Who answers for a group or an exposure."""
    return Owner(thing.owner.name or "", thing.owner.email or "")


def one_line(text: str | None) -> str:
    """A text without its line breaks; empty for none."""
    return " ".join((text or "").split())
