"""The diagram of the marts, which dbterd makes of what dbt knows of the project.

    python scripts/catalog.py --diagram    writes it into README.md and docs/diagram.md

dbterd's own algorithms read a test with one parent, or foreign keys in contracts; here one test
looks at all parents of a fact, and contracts have no foreign keys. So it gets an algorithm of ours,
and does the rest: reading the artifacts, choosing marts, writing Mermaid and JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dbterd.adapters.algos.test_relationship import TestRelationshipAlgo
from dbterd.api import DbtErd
from dbterd.core.models import Column, Ref, Table
from dbterd.core.registry.decorators import register_algo

from pages.files import filled, replace_file

ALGORITHM = "parents"
STAR = ["wildcard:*.dim_*", "wildcard:*.fact_*"]
# Between these two lines of a page stands what is drawn of the project.
DRAWN = re.compile(r"(<!-- diagram -->\n).*?(<!-- end -->)", re.DOTALL)

Place = tuple[str, str]  # unique_id of a mart, name of its column


@register_algo(ALGORITHM, description="Parents as this project's tests name them")
class ParentsAlgo(TestRelationshipAlgo):  # type: ignore[misc] # theirs has no types
    """Marts with their keys, and where each key leads."""

    def get_tables(self, manifest: Any, catalog: Any, **kwargs: Any) -> list[Table]:
        """The marts, with keys only: their other columns are in the catalog, sixty of one mart."""
        parents = parents_of(manifest)
        keys = parents.keys() | set(parents.values())
        primary = {(node, key) for node, keys in primary_keys(manifest).items() for key in keys}
        tables = []
        for table in super().get_tables(manifest=manifest, catalog=catalog, **kwargs):
            node = manifest.nodes.get(table.node_name)
            if is_mart(node):
                table.columns = [
                    # Types as in the contract: those of the catalog differ between warehouses.
                    Column(
                        name, column.data_type, is_primary_key=(table.node_name, name) in primary
                    )
                    for name, column in node.columns.items()
                    if (table.node_name, name) in keys | primary
                ]
                tables.append(table)
        return tables

    def get_relationships(self, manifest: Any, **kwargs: Any) -> list[Ref]:
        """Every key that leads to another row; any number of rows to one."""
        return [
            Ref(
                name=".".join(child),
                table_map=(parent[0], child[0]),
                column_map=([parent[1]], [child[1]]),
                type="01",
                relationship_label=child[1],
            )
            for child, parent in parents_of(manifest).items()
        ]


def primary_keys(manifest: Any) -> dict[str, list[str]]:
    """By model, the columns that tell its rows apart; of several such sets the shortest."""
    keys: dict[str, list[str]] = {}
    for node, test in tests(manifest, "primary_key"):
        columns = test.kwargs["columns"]
        if node not in keys or len(columns) < len(keys[node]):
            keys[node] = columns
    return keys


def parents_of(manifest: Any) -> dict[Place, Place]:
    """Each key of a mart with the key that it leads to: of another mart, or of another row.

    Tests name the parents, each in one mart. A key is called alike everywhere and leads to the same
    parent, so this also holds for views and marts that only pass it on; a key that no test names
    leads to the mart that it is the primary key of.
    """
    tested: dict[Place, Place] = {}
    for node, test in tests(manifest, "relationships"):
        target = parent(manifest, test.kwargs["to"])
        tested[node, test.kwargs["column_name"]] = (target, test.kwargs["field"])
    for node, test in tests(manifest, "foreign_keys"):
        for column, to in test.kwargs["parents"].items():
            tested[node, column] = (parent(manifest, to["to"]), to.get("field", column))
    primary = {(node, keys[0]) for node, keys in primary_keys(manifest).items() if len(keys) == 1}
    named = {column: (node, column) for node, column in primary}
    named |= {column: to for (_, column), to in tested.items() if to in primary}
    # Versions share a key; it leads to what has one row for it.
    tested |= {
        place: named[to[1]] for place, to in tested.items() if to not in primary and to[1] in named
    }
    named |= {column: to for (_, column), to in tested.items()}
    found = {}
    for unique_id, node in manifest.nodes.items():
        for column in node.columns if is_mart(node) else ():
            place = (unique_id, column)
            to = tested.get(place) or named.get(column)
            if to and to != place and column.endswith("_key"):
                found[place] = to
    return found


def is_mart(node: Any) -> bool:
    """Whether others may read a model."""
    access = getattr(node, "access", None)  # text or an enumeration, as dbterd could read it
    return getattr(access, "value", access) == "public"


def tests(manifest: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The generic tests of a name: the model that each looks at, and what it was given."""
    for node in manifest.nodes.values():
        test = getattr(node, "test_metadata", None)
        if test and test.name == name and node.attached_node:
            yield node.attached_node, test


def parent(manifest: Any, reference: str) -> str:
    """The unique_id of what a test calls ref('...')."""
    found = re.fullmatch(r"ref\(\s*['\"](\w+)['\"]\s*\)", reference.strip())
    ids = [i for i in manifest.nodes if found and i.endswith(f".{found[1]}")]
    if len(ids) != 1:
        raise ValueError(f"a test names the parent {reference}, which is no model of the project")
    return str(ids[0])


def draw(target: Path, form: str, **options: Any) -> str:
    """The diagram of the artifacts in a folder as dbterd writes it in a form: mermaid, json."""
    diagram = DbtErd(
        artifacts_dir=target,
        target=form,
        algo=ALGORITHM,
        entity_name_format="table",
        resource_type=["model"],
        **options,
    )
    return str(diagram.get_erd()).strip()


def write_documents(project: Path, target: Path) -> None:
    """Draw the diagrams of README.md (the star) and docs/diagram.md (all marts, with keys)."""
    drawn = {
        "README.md": draw(target, "mermaid", select=STAR, omit_columns=True),
        "docs/diagram.md": draw(target, "mermaid"),
    }
    for name, diagram in drawn.items():
        text = (project / name).read_text("utf-8")
        block = f"\\1```mermaid\n{diagram}\n```\n\\2"
        replace_file(project / name, DRAWN.sub(block, text))


def write_diagram(target: Path, page: Path) -> None:
    """Draw the page of the diagram from the artifacts in a folder.

    Facts and dimensions and what is made of both stand in a column each, with their keys; the page
    itself draws the lines between them, and lists them for those who do not see it.
    """
    diagram = json.loads(draw(target, "json"))
    nodes = json.loads((target / "manifest.json").read_text("utf-8"))["nodes"]
    leads = {(e["from_id"], e["from_columns"][0]): e for e in diagram["edges"]}
    columns: dict[str, list[dict[str, Any]]] = {"facts": [], "dimensions": [], "audiences": []}
    for mart in diagram["nodes"]:
        folder, name = nodes[mart["id"]]["fqn"][-2], mart["name"]
        place = "audiences" if folder != "core" else "dimensions" if name[:4] == "dim_" else "facts"
        keys = []
        for column in mart["columns"]:
            edge = leads.get((mart["id"], column["name"]))
            keys.append(
                {
                    "name": column["name"],
                    "is_primary": column["is_primary_key"],
                    "to": nodes[edge["to_id"]]["name"] if edge else "",
                    "field": edge["to_columns"][0] if edge else "",
                }
            )
        columns[place].append({"id": mart["id"], "name": name, "keys": keys})
    replace_file(page, filled(Path(__file__).with_name("diagram.html"), columns=columns))
