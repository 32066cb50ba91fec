"""The analyst's questions: answers in docs/ are what the shop says, and the notebook draws them."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from support.built import DAY, BuiltWarehouses
from support.project import Project, Warehouse, answer
from tools.questions import ANALYSES, ANSWERS, PAGE, answered

NOTEBOOK = Path("notebooks/questions.ipynb")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=DAY)


@pytest.fixture(scope="module")
def on_duckdb(project: Project, built: BuiltWarehouses) -> Warehouse:
    return built.copy("duckdb", "new", "questions", project.folder).warehouse


@pytest.fixture(scope="module")
def on_postgres(project: Project, built: BuiltWarehouses) -> Warehouse:
    return built.copy("postgres", "new", "questions", project.folder).warehouse


@pytest.mark.parametrize("kind", ["on_duckdb", pytest.param("on_postgres", marks=pytest.mark.long)])
def test_answers_are_what_the_shop_says(
    kind: str, project: Project, request: pytest.FixtureRequest
) -> None:
    warehouse: Warehouse = request.getfixturevalue(kind)
    sql = project.compiled(warehouse, "--select", "path:analyses")
    page = PAGE.read_text("utf-8")
    assert answered(page, lambda name: answer(warehouse, sql[name])) == page


def test_every_question_is_answered_and_drawn(project: Project, on_duckdb: Warehouse) -> None:
    questions = {path.stem for path in ANALYSES.glob("*.sql")}
    assert len(questions) >= 6
    assert {name for _, name, _ in ANSWERS.findall(PAGE.read_text("utf-8"))} == questions
    notebook = (project.folder / NOTEBOOK).read_text("utf-8")
    assert set(re.findall(r'ask\(\\"(\w+)\\"\)', notebook)) == questions


def test_questions_are_asked_of_marts_only(project: Project, on_duckdb: Warehouse) -> None:
    nodes = project.manifest(on_duckdb)["nodes"]
    asked = [node for node in nodes.values() if node["resource_type"] == "analysis"]
    assert asked
    for analysis in asked:
        parents = [nodes.get(name, {}) for name in analysis["depends_on"]["nodes"]]
        assert parents and {parent.get("schema") for parent in parents} == {"marts"}, analysis[
            "name"
        ]


@pytest.mark.long
def test_notebook_runs_from_top_to_bottom(
    project: Project, on_duckdb: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUCKDB_PATH", on_duckdb.variables["DUCKDB_PATH"])
    path = project.folder / NOTEBOOK
    notebook = nbformat.reads(path.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "commit it without outputs"
    NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = [output for output in outputs if "image/png" in output.get("data", {})]
    # Nothing but drawings: a warning would be a text.
    assert len(drawn) == len(outputs) == len(list(ANALYSES.glob("*.sql")))
