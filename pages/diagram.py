"""The diagram of the marts, which dbterd draws from dbt's artifacts.

    python scripts/catalog.py --diagram    writes it into docs/marts.md and docs/diagram.md

dbterd's own algorithms read a test with one parent, or foreign keys in contracts. In this project
one test checks all parents of a fact, and contracts have no foreign keys. So this module gives
dbterd an algorithm of its own. dbterd does the rest: it reads the artifacts, chooses the marts and
writes Mermaid and JSON.
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

from pages.files import replace_file, write_page

ALGORITHM = "parents"
STAR = ["wildcard:*.dim_*", "wildcard:*.fact_*"]
# A drawing is between these two lines of a document.
DRAWN = re.compile(r"(<!-- diagram -->\n).*?(<!-- end -->)", re.DOTALL)

Place = tuple[str, str]  # unique_id of a mart, and the name of a column in it


@register_algo(ALGORITHM, description="Parents that this project's tests name")
class ParentsAlgo(TestRelationshipAlgo):  # type: ignore[misc] # the base class has no types
    """Marts with their keys, and where each key leads."""

    def get_tables(self, manifest: Any, catalog: Any, **kwargs: Any) -> list[Table]:
        """The marts, with keys only: the catalog shows their other columns, up to sixty a mart."""
        parents = parents_of(manifest)
        keys = parents.keys() | set(parents.values())
        primary = {(node, key) for node, keys in primary_keys(manifest).items() for key in keys}
        tables = []
        for table in super().get_tables(manifest=manifest, catalog=catalog, **kwargs):
            node = manifest.nodes.get(table.node_name)
            if is_mart(node):
                table.columns = [
                    # The contract's types: the catalog's types differ between warehouses.
                    Column(
                        name, column.data_type, is_primary_key=(table.node_name, name) in primary
                    )
                    for name, column in node.columns.items()
                    if (table.node_name, name) in keys | primary
                ]
                tables.append(table)
        return tables

    def get_relationships(self, manifest: Any, **kwargs: Any) -> list[Ref]:
        """Every key that leads to another row, each as many-to-one."""
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
    """By model, the columns that identify a row; the shortest set where there are several."""
    keys: dict[str, list[str]] = {}
    for node, test in tests(manifest, "primary_key"):
        columns = test.kwargs["columns"]
        if node not in keys or len(columns) < len(keys[node]):
            keys[node] = columns
    return keys


def parents_of(manifest: Any) -> dict[Place, Place]:
    """Each key of a mart with the key that it leads to, in another mart or another row.

    Tests name the parents, each in one mart. A key has the same name and the same parent
    everywhere, so a view or mart that passes it on needs no test. A key that no test names leads to
    the mart whose primary key it is.
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
    # Versions share a key; it leads to the mart that has one row for it.
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
    access = getattr(node, "access", None)  # dbterd reads a text or an enumeration
    return getattr(access, "value", access) == "public"


def tests(manifest: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The generic tests with a name: the model that each checks, and its arguments."""
    for node in manifest.nodes.values():
        test = getattr(node, "test_metadata", None)
        if test and test.name == name and node.attached_node:
            yield node.attached_node, test


def parent(manifest: Any, reference: str) -> str:
    """The unique_id of the model that a test names as ref('...')."""
    found = re.fullmatch(r"ref\(\s*['\"](\w+)['\"]\s*\)", reference.strip())
    ids = [i for i in manifest.nodes if found and i.endswith(f".{found[1]}")]
    if len(ids) != 1:
        raise ValueError(f"a test names the parent {reference}, which is not a model here")
    return str(ids[0])


def draw(target: Path, form: str, **options: Any) -> str:
    """The diagram of the artifacts in a folder, in one of dbterd's forms: mermaid, json."""
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
    """Draw the diagrams of docs/marts.md (the star) and docs/diagram.md (all marts, with keys)."""
    drawn = {
        "docs/marts.md": draw(target, "mermaid", select=STAR, omit_columns=True),
        "docs/diagram.md": draw(target, "mermaid"),
    }
    for name, diagram in drawn.items():
        text = (project / name).read_text("utf-8")
        block = f"\\1```mermaid\n{diagram}\n```\n\\2"
        replace_file(project / name, DRAWN.sub(block, text))


def write_diagram(target: Path, page: Path) -> None:
    """Draw the page of the diagram from the artifacts in a folder.

    Facts, dimensions and the marts built on them have a column each, and each mart shows its keys.
    The page's script draws the lines between them; a table lists them for those who cannot see it.
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
    write_page(page, Path(__file__).with_name("diagram.html"), columns=columns)
