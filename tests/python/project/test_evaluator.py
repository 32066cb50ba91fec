"""What dbt_project_evaluator would find in the project, each finding with a reason.

The package is on dbt's hub only. These are those of its rules that find something here, with its
thresholds, on the manifest; dbt-bouncer holds names, folders, layers, access and contracts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.project import DuckDBWarehouse, Project

FANOUT, JOINS = 3, 7  # models_fanout_threshold, too_many_joins_threshold

# By rule: why, and what it finds. A finding that is not here fails, and so does an entry of no use.
REASONS: dict[str, dict[str, set[str]]] = {
    "no primary key test": {
        "A view with a row for each row of one raw table, whose key the loader and dbt test.": {
            f"stg_classicmodels__{name}"
            for name in (*("customers", "employees", "orders", "product_lines"),)
        },
        "A view of which some columns are null in each row; it is only looked up in.": {
            "stg_classicmodels__payment_tombstones",
            "stg_classicmodels__tombstones",
        },
        "A record of the project's own runs, which must fail no build; the mart groups by key.": {
            "stg_classicmodels__runs",
            "stg_classicmodels__run_nodes",
        },
        "A table of one row; a second one would double the keys of all marts that read it.": {
            "int_data_through",
            "int_plausible_days",
        },
        "A view whose key is that of dim_dates, and is tested there.": {"int_days_spanned"},
        "A view whose key is that of the table or tables built on it, and is tested there.": {
            "int_addresses_located",
            "int_product_line_names",
            "int_orders_tracked",
        },
        "A view on fact_orders, with whose rows a test compares its own.": {"orders_obt"},
        "A view of some rows of fact_orders, whose keys are tested there.": {
            "int_order_lines_learned",
            "int_order_lines_numbered",
            "int_recommendation_cases_chosen",
        },
        "A view for one mart; a test of its key would count all pairs or days once more.": {
            "int_product_orders_accumulated",
            "int_recommendations_ranked",
        },
    },
    "source that no model reads": {
        "The loader's account: freshness, snapshots, tests and people read it.": {
            f"_load_{name}"
            for name in ("blocks", "issues", "ranges", "runs", "schema_changes", "state", "tables")
        },
        "Sums of old runs, for people; the mart keeps its own.": {"_run_days"},
    },
    "fan-out": {
        "The centre of the star: each audience has marts of its own on it.": {
            "dim_customers_current",
            "dim_products_current",
            "fact_orders",
            "fact_payments",
        },
        "One day for all marts: each says through which day its figures go.": {"int_data_through"},
    },
    "rejoining": {
        "Versions and what is known now stand side by side; the wide view shows both.": {
            "orders_obt through dim_employees_current"
        },
        "Versions from the snapshot, and the one spelling of all lines that any version had.": {
            "dim_products through int_product_line_names"
        },
        "Recommendations see the shown lines of a case; the mart looks for the hidden one.": {
            "recommendation_evaluation through int_recommendations_ranked"
        },
        "The other mart has the names of products, the counted pairs their codes.": {
            "product_pairs through int_product_pairs_counted"
        },
        "Pairs and single products are counted in the same lines, for the same cases.": {
            "int_recommendations_ranked through int_product_orders_accumulated"
        },
    },
    "exposure of a view": {
        "A view is never older than the star, and a question reads only the columns it names.": {
            "analyst_questions reads orders_obt",
            "sales_dashboard reads orders_obt",
        },
    },
    "too many joins": {
        "The wide view reads all dimensions: that is what it is for.": {"orders_obt"},
    },
}


class Graph:
    """The models, sources and exposures of a manifest, and who reads whom."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        nodes = manifest["nodes"]
        self.models = {u: n for u, n in nodes.items() if n["resource_type"] == "model"}
        self.sources: Mapping[str, Any] = manifest["sources"]
        self.exposures: Mapping[str, Any] = manifest["exposures"]
        snapshots = {u: n for u, n in nodes.items() if n["resource_type"] == "snapshot"}
        self.readers = self.models | snapshots
        self.keyed = {
            node["attached_node"]
            for node in nodes.values()
            if node.get("test_metadata", {}).get("name") == "primary_key"
        }

    def parents(self, unique_id: str) -> set[str]:
        return set(self.readers[unique_id]["depends_on"]["nodes"])

    def children(self, unique_id: str) -> set[str]:
        return {reader for reader in self.readers if unique_id in self.parents(reader)}

    def name(self, unique_id: str) -> str:
        return unique_id.rpartition(".")[2]

    def without_key(self) -> set[str]:
        return {self.name(model) for model in self.models if model not in self.keyed}

    def unused(self) -> set[str]:
        return {self.name(source) for source in self.sources if not self.children(source)}

    def fanned_out(self) -> set[str]:
        """Models that three or more models read which nobody reads."""
        leaves = {model for model in self.models if not self.children(model)}
        return {
            self.name(model)
            for model in self.models
            if len(self.children(model) & leaves) >= FANOUT
        }

    def rejoined(self) -> set[str]:
        """Models that read a parent and its parent, where nobody else reads the one between."""
        return {
            f"{self.name(child)} through {self.name(between)}"
            for child in self.readers
            for between in self.parents(child) & set(self.readers)
            if self.parents(between) & self.parents(child) and self.children(between) == {child}
        }

    def exposed_views(self) -> set[str]:
        return {
            f"{exposure['name']} reads {self.name(model)}"
            for exposure in self.exposures.values()
            for model in set(exposure["depends_on"]["nodes"]) & set(self.models)
            if self.models[model]["config"]["materialized"] not in ("table", "incremental")
        }

    def joining(self) -> set[str]:
        return {self.name(model) for model in self.models if len(self.parents(model)) >= JOINS}


RULES: dict[str, Callable[[Graph], set[str]]] = {
    "no primary key test": Graph.without_key,
    "source that no model reads": Graph.unused,
    "fan-out": Graph.fanned_out,
    "rejoining": Graph.rejoined,
    "exposure of a view": Graph.exposed_views,
    "too many joins": Graph.joining,
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("evaluated")
    return Project(folder / "project").manifest(DuckDBWarehouse(Path(folder / "w.duckdb")))


@pytest.mark.parametrize("rule", RULES)
def test_each_finding_has_a_reason(rule: str, manifest: Mapping[str, Any]) -> None:
    known = set().union(*REASONS[rule].values())
    assert RULES[rule](Graph(manifest)) == known
