"""What a build of some changes has to run, and the results of all that it did not run."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from loader.audit import COMMIT_TABLES, RUN_TABLES, STATE_TABLES, TABLES
from pipeline.changes import Changes, GreenBuild
from pipeline.dbt_runner import Node, Result

# The macro whose result is the day.
DAY = "as_of_date"
# The table of which make watch stores when new rows were committed: no load counts these times.
COMMITTED = "orders"
# A view with one of these words may have other SQL although no code has changed; with one of the
# second only on another day.
ASKS = {"execute", "run_query", "statement"}
ASKS_DAY = {DAY, "run_started_at"}


def selected(nodes: Sequence[Node], changes: Changes) -> list[Node]:
    """The snapshots, models and tests that a build of some changes has to run.

    These are all that hang on what has changed. Views that say the same as before are left out, but
    not their tests.
    """
    # What is made of the runs follows, but each run changes them: they are no reason for a build.
    tables = {*RUN_TABLES, *changes.tables, *(COMMIT_TABLES if COMMITTED in changes.tables else ())}
    starts = {
        node.id
        for node in nodes
        if (node.kind == "source" and node.table in tables)
        or (changes.new_day and DAY in node.words)
    }
    below = _below(nodes, starts)
    audit = {n.id for n in nodes if n.kind == "source" and n.table in {*TABLES, *STATE_TABLES}}
    return [
        node
        for node in nodes
        if (node.id in below and not _says_the_same(node, changes))
        or (node.kind == "test" and (audit & set(node.parents) or node.name in changes.tests))
    ]


def _says_the_same(node: Node, changes: Changes) -> bool:
    asks = ASKS | ASKS_DAY if changes.new_day else ASKS
    is_built = node.kind in ("model", "snapshot", "test")
    return not is_built or (node.is_view and not node.words & asks)


def _below(nodes: Sequence[Node], starts: Collection[str]) -> set[str]:
    children: dict[str, list[str]] = {}
    for node in nodes:
        for parent in node.parents:
            children.setdefault(parent, []).append(node.id)
    found, left = set(starts), list(starts)
    while left:
        new = [child for child in children.get(left.pop(), ()) if child not in found]
        found |= {*new}
        left += new
    return found


def with_others(
    results: Sequence[Result], nodes: Sequence[Node], since: GreenBuild
) -> list[Result]:
    """The results of a build of some nodes, and of all others as the last green build left them."""
    ran = {(result.kind, result.name) for result in results}
    warned = {(result.kind, result.name): result for result in since.warned}
    return [
        *results,
        *(
            warned.get((node.kind, node.name)) or Result(node.name, node.kind, "pass")
            for node in nodes
            if node.kind != "source" and (node.kind, node.name) not in ran
        ),
    ]
