"""The graph that the commands of one process share is the one that each would make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from dbt import flags
from dbt.artifacts.resources import ExposureType, FileHash, Owner, TestMetadata
from dbt.compilation import Linker
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import Exposure, GenericTestNode, ModelNode
from dbt.graph import Graph
from dbt.node_types import NodeType
from dbt.plugins.manager import PluginManager

from pipeline.dbt_runner import speed_up
from pipeline.dbt_runner.speed import graph

PLACE = {"database": "d", "schema": "s", "checksum": FileHash.from_contents("")}


@pytest.fixture(autouse=True)
def _own_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    speed_up()
    monkeypatch.setattr(graph._KEPT, "links", None)


@pytest.fixture(params=[False, True], ids=["edges", "fast_edges"])
def is_fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    chosen = SimpleNamespace(USE_FAST_TEST_EDGES=request.param)
    monkeypatch.setattr(flags, "GLOBAL_FLAGS", chosen)
    yield request.param


def of_kind(kind: NodeType, name: str) -> dict[str, Any]:
    given = {"name": name, "resource_type": kind, "package_name": "c", "fqn": ["c", name]}
    return {**given, "unique_id": f"{kind}.{name}", "path": "p", "original_file_path": "p"}


def manifest(**parents: list[str]) -> Manifest:
    """Models by name with the models that they read, each with a test."""
    nodes: dict[str, Any] = {}
    for name, reads in parents.items():
        model = ModelNode(**of_kind(NodeType.Model, name), **PLACE, alias=name)
        model.depends_on.nodes += [f"model.{other}" for other in reads]
        test = GenericTestNode(
            **of_kind(NodeType.Test, name),
            **PLACE,
            alias=name,
            test_metadata=TestMetadata(name="unique", kwargs={}),
        )
        test.depends_on.nodes.append(model.unique_id)
        nodes |= {model.unique_id: model, test.unique_id: test}
    exposure = Exposure(
        **of_kind(NodeType.Exposure, "e"), type=ExposureType.Dashboard, owner=Owner(email="e")
    )
    exposure.depends_on.nodes.append("model.a")
    return Manifest(nodes=nodes, exposures={exposure.unique_id: exposure})


def linked(given: Manifest, *, own: bool = False) -> list[Any]:
    """The nodes and edges of the graph of a project, without and with those from tests."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("link_graph", "add_test_edges") if own else ():
            patched.setattr(Linker, name, vars(Linker)[name].original)
        linker = Linker()
        linker.link_graph(given)
        found = [linker.graph.copy()]
        given.build_parent_and_child_maps()
        linker.add_test_edges(given)
    found.append(linker.graph)
    return [(dict(graph.nodes(data=True)), sorted(graph.edges(data=True))) for graph in found]


def test_a_graph_is_linked_once(is_fast: bool) -> None:
    given = manifest(a=[], b=["a"], c=["a", "b"])
    dbts = linked(given, own=True)
    first, second = linked(given), linked(given)
    assert first == second == dbts
    assert ("test.a", "model.b", {"edge_type": "parent_test"}) in dbts[1][1]
    linkers = Linker(), Linker()
    for linker in linkers:
        linker.link_graph(given)
    assert linkers[0].graph is linkers[1].graph


def test_a_graph_is_linked_again_where_dependencies_differ(is_fast: bool) -> None:
    given = manifest(a=[], b=["a"], c=["a", "b"])
    linked(given)
    given.nodes["model.c"].depends_on.nodes.pop()
    assert linked(given) == linked(given, own=True)
    for other in (manifest(a=[], b=["a"]), manifest(a=[], b=["a"], d=[])):
        assert linked(other) == linked(other, own=True)


def test_a_new_source_is_in_the_graph(is_fast: bool) -> None:
    given = manifest(a=[])
    linked(given)
    given.sources["source.s"] = SimpleNamespace(unique_id="source.s", depends_on_nodes=[])
    assert "source.s" in linked(given)[0][0]


def test_each_way_has_its_own_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    given = manifest(a=[], b=["a"], c=["b"])
    found = []
    for is_fast in (False, True, False):
        monkeypatch.setattr(flags, "GLOBAL_FLAGS", SimpleNamespace(USE_FAST_TEST_EDGES=is_fast))
        assert linked(given) == linked(given, own=True)
        found.append(linked(given))
    assert found[0] == found[2] != found[1]


def test_what_reads_a_graph_leaves_it_as_it_is(is_fast: bool) -> None:
    given = manifest(a=[], b=["a"], c=["a", "b"])
    dbts = linked(given, own=True)
    linker = Linker()
    linker.link_graph(given)
    linker.add_test_edges(given)
    read = Graph(linker.graph)
    read.get_subset_graph({"model.a", "model.c"})
    read.select_children({"model.a"})
    read.get_dependent_nodes("model.a")
    read.subgraph({"model.a"})
    assert linked(given) == dbts


def test_a_cycle_is_found() -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Found a cycle"):
            Linker().link_graph(manifest(a=["b"], b=["a"]))


def test_plugins_are_the_same() -> None:
    found = PluginManager.get_prefixed_modules()
    own = vars(PluginManager)["get_prefixed_modules"].__func__.original
    assert found == own(PluginManager) == PluginManager.get_prefixed_modules()


def test_the_summary_of_the_graph_is_the_same() -> None:
    given = manifest(a=[], b=["a"])
    linker = Linker()
    linker.link_graph(given)
    summary = json.dumps(linker.get_graph_summary(given))
    assert summary == json.dumps(Linker.get_graph_summary.original(linker, given))
    assert "succ" in summary and "exposure" in summary
