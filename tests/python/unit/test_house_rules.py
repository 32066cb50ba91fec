"""dbt-bouncer with the house's rules finds nothing, and finds what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.clone import REPO
from support.project import DuckDBWarehouse, Project, Warehouse

STAGING = REPO / "models" / "staging" / "classicmodels"
# What each breaks: file, text, other text, and the rules and models that are then red.
BREAKS: dict[str, tuple[str, str, str, list[str]]] = {
    "name": (
        "models/marts/core/dim_dates.yml",
        "- name: is_weekend\n",
        "- name: weekend\n",
        ["check_model_column_type_complies_to_column_name: dim_dates"],
    ),
    "type": (
        "models/marts/core/fact_payments.yml",
        "data_type: numeric(12,2)",
        "data_type: bigint",
        ["check_model_column_name_complies_to_column_type: fact_payments"],
    ),
    "layer": (
        "models/marts/sales/product_performance.sql",
        "ref('dim_products_current')",
        "ref('stg_classicmodels__products')",
        ["check_lineage_permitted_upstream_models: product_performance"],
    ),
    "live": (
        "models/intermediate/calendar/int_plausible_days.sql",
        "    tags='live',\n",
        "",
        ["check_live_model_has_live_parents: dim_dates"],
    ),
    "contract": (
        "models/marts/sales/sales_last_30_days.yml",
        "  - name: sales_last_30_days\n",
        "  - name: sales_last_30_days\n    config: {contract: {enforced: false}}\n",
        ["check_model_contract_enforced_for_public_model: sales_last_30_days"],
    ),
    "test": (
        "models/marts/marketing/customer_segments.yml",
        "      - primary_key:\n",
        "      - no_nulls:\n",
        ["check_model_has_tests_by_name: customer_segments"],
    ),
    "owner": (
        "dbt_project.yml",
        "      +group: data_platform\n      +access: protected\n",
        "      +access: protected\n",
        [f"check_model_has_group: {path.stem}" for path in STAGING.glob("*.sql")],
    ),
    "metric": (
        "models/marts/_semantic_models.yml",
        "ref('dim_offices')",
        "ref('stg_classicmodels__offices')",
        ["check_semantic_model_based_on_non_public_models: offices"],
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def refused(project: Project, warehouse: Warehouse) -> tuple[int, set[str]]:
    """The status of dbt-bouncer, and what it refuses: the rule and the model or metric."""
    made = project.folder / "target" / "manifest.json"
    made.write_text(json.dumps(project.manifest(warehouse)), "utf-8")
    report = project.folder / "report.tap"
    bouncer = str(Path(sys.executable).with_name("dbt-bouncer"))
    done = subprocess.run(
        [bouncer, "run", "--output-file", str(report), "--output-format", "tap"],
        cwd=project.folder,
        capture_output=True,
        text=True,
    )
    assert report.is_file(), done.stdout + done.stderr
    found = re.findall(r"^not ok \d+ - (\w+):\d+:(\w+)", report.read_text("utf-8"), re.MULTILINE)
    return done.returncode, {f"{rule}: {model}" for rule, model in found}


@pytest.mark.long  # `make lint` asks it too
def test_the_rules_are_kept(project: Project, tmp_path: Path) -> None:
    assert refused(project, DuckDBWarehouse(tmp_path / "w.duckdb")) == (0, set())


@pytest.mark.long
def test_what_is_against_the_rules_is_found(project: Project, tmp_path: Path) -> None:
    with project.edited([edit[:3] for edit in BREAKS.values()]):
        status, found = refused(project, DuckDBWarehouse(tmp_path / "w.duckdb"))
    assert status == 1
    assert found == {red for edit in BREAKS.values() for red in edit[3]}
