"""Whatever the catalog shows says what it is: in the catalog itself, and as comments on tables.

A check for descriptions that are missing or say nothing, and proof that the check finds them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.built import BuiltWarehouses
from support.project import (
    RAW_SCHEMA,
    REVENUE,
    Project,
    Warehouse,
)

# What a column of a mart may be counted in.
UNITS = {"none", "USD", "percent", "pieces", "days", "hour"}
UNITS |= {"orders", "lines", "payments", "customers", "changes", "runs", "rows", "seconds"}
SUMMABLE = UNITS - {"none", "percent", "hour"}
TABLES = ("model", "seed", "snapshot", "source")
PLACEHOLDERS = {"todo", "tbd", "fixme", "xxx", "lorem", "placeholder"}
FILLERS = {"a", "an", "and", "in", "is", "of", "the", "this"}

# What builds note for each other, which docs/operations.md describes.
NOTES = {("snapshots", "compared_loads")}

Columns = Mapping[tuple[str, str], set[str]]  # (schema, table) -> names of its columns

# Of tables and views, and of their columns: (schema, table, column or null, comment).
COMMENTS = {
    "duckdb": """
        select schema_name, table_name, null, comment from duckdb_tables()
        union all select schema_name, view_name, null, comment from duckdb_views()
        union all select schema_name, table_name, column_name, comment from duckdb_columns()
    """,
    "postgres": """
        select c.relnamespace::regnamespace::text, c.relname, a.attname, d.description
        from pg_description d
        inner join pg_class c on c.oid = d.objoid and d.classoid = 'pg_class'::regclass
        left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and a.attnum > 0
    """,
}


# -- the check ------------------------------------------------------------------------------------


def faults(manifest: Mapping[str, Any], columns: Columns) -> list[str]:
    """What is wrong with the project's descriptions, one line each, sorted."""
    found = [f"{thing} {fault}" for thing, text in texts(manifest) if (fault := wrong(thing, text))]
    found += [f"{owner} has no owner to write to" for owner in without_owner(manifest)]
    found += unclassified(manifest)
    found += [f"exposure {name} reads {other}, no mart" for name, other in read_elsewhere(manifest)]
    found += [f"doc block {name} is not used" for name in unused_blocks(manifest)]
    return sorted([*found, *differences(manifest, columns)])


def wrong(thing: str, text: str) -> str:
    """What is wrong with the description of a thing ("column dim_dates.date_day"), if anything."""
    kind, name = thing.split(" ", 1)
    words = re.findall(r"[a-z0-9]+", text.lower())
    if not words:
        return "has no description"
    said = set(words) - FILLERS - set(re.findall(r"[a-z0-9]+|$", name.lower().replace("_", " ")))
    if len(words) < 3 or not said or PLACEHOLDERS & said:
        return f"has a description that says nothing: {text.strip()}"
    if kind in TABLES and not text.startswith("One row per "):
        return f"does not begin with its grain: {text.strip()}"
    return ""


def texts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Everything that needs a description, as "kind name", with the description that it has."""
    for node in tables(manifest):
        yield f"{node['resource_type']} {node['name']}", node["description"]
        for name, column in node["columns"].items():
            yield f"column {node['name']}.{name}", column["description"]
    for source in manifest["sources"].values():
        yield f"schema {source['source_name']}", source["source_description"]
    for node in ours(manifest, "nodes"):
        # The name of a generic test says what it tests.
        is_singular = node["resource_type"] == "test" and "test_metadata" not in node
        if is_singular or (node["resource_type"] == "test" and node["description"]):
            yield f"test {node['name']}", node["description"]
    for kind in ("unit_tests", "exposures", "groups", "semantic_models", "metrics"):
        for node in ours(manifest, kind):
            yield f"{kind.removesuffix('s')} {node['name']}", node["description"] or ""
    for macro in ours(manifest, "macros"):
        yield f"macro {macro['name']}", macro["description"]
        documented = {argument["name"]: argument["description"] for argument in macro["arguments"]}
        for argument in signature(macro):
            text = documented.pop(argument, "")
            yield f"argument {macro['name']}({argument})", text
        for argument in documented:
            yield f"argument {macro['name']}({argument}), which does not exist,", ""


def signature(macro: Mapping[str, Any]) -> list[str]:
    """Names of the arguments of a macro, as its first line declares them."""
    head = re.search(r"(?:macro|test)\s+\w+\s*\((.*?)\)\s*-?%}", macro["macro_sql"], re.DOTALL)
    assert head, macro["macro_sql"]
    return re.findall(r"(?:^|,)\s*(\w+)", head[1])


def without_owner(manifest: Mapping[str, Any]) -> list[str]:
    """Groups and exposures about which nobody can be asked."""
    return [
        f"{node['resource_type']} {node['name']}"
        for kind in ("groups", "exposures")
        for node in ours(manifest, kind)
        if not node["owner"].get("name") or "@" not in (node["owner"].get("email") or "")
    ]


def unclassified(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Columns of marts that do not say whether they are personal, what they count, if it adds up.

    Who may see a column is decided by it: what is not classified is a fault, and so is nonsense.
    """
    for node in ours(manifest, "nodes"):
        if node["resource_type"] == "model" and node["access"] == "public":
            for name, column in node["columns"].items():
                if fault := wrong_class(column["config"].get("meta", {}), column["data_type"]):
                    yield f"column {node['name']}.{name} {fault}"


def wrong_class(meta: Mapping[str, Any], data_type: str) -> str:
    """What is wrong with the classification of a column, if anything."""
    personal, unit, additive = (meta.get(key) for key in ("personal_data", "unit", "additive"))
    if not isinstance(personal, bool) or not isinstance(additive, bool) or unit not in UNITS:
        return f"is not classified: {dict(meta)}"
    is_number = data_type.startswith(("numeric", "integer", "bigint"))
    if (unit != "none" and not is_number) or (additive and unit not in SUMMABLE):
        return f"cannot be of the class {dict(meta)}"
    return ""


def read_elsewhere(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Exposures that read something else than marts, and what."""
    public = {n["unique_id"] for n in ours(manifest, "nodes") if n.get("access") == "public"}
    for exposure in ours(manifest, "exposures"):
        for name in exposure["depends_on"]["nodes"]:
            if name not in public:
                yield exposure["name"], name.rpartition(".")[2]


def unused_blocks(manifest: Mapping[str, Any]) -> set[str]:
    """Texts that stand in a docs file and are shown nowhere."""
    used = set()
    for node in tables(manifest):
        for described in (node, *node["columns"].values()):
            used |= {block.rpartition(".")[2] for block in described["doc_blocks"]}
    return {block["name"] for block in ours(manifest, "docs")} - used - {"__overview__"}


def differences(manifest: Mapping[str, Any], columns: Columns) -> Iterator[str]:
    """Where the catalog and the warehouse speak of different tables and columns."""
    documented = {
        (node["schema"], node.get("identifier") or node["alias"]): node for node in tables(manifest)
    }
    for place, node in documented.items():
        for name in sorted(columns[place] ^ node["columns"].keys()):
            fault = "is not documented" if name in columns[place] else "does not exist"
            yield f"column {node['name']}.{name} {fault}"
    for schema, table in columns.keys() - documented.keys() - NOTES:
        if schema in {place[0] for place in documented}:
            yield f"table {schema}.{table} is not documented"


def tables(manifest: Mapping[str, Any]) -> list[Any]:
    """Sources, seeds, models and snapshots."""
    nodes = [*ours(manifest, "sources"), *ours(manifest, "nodes")]
    return [node for node in nodes if node["resource_type"] in TABLES]


def ours(manifest: Mapping[str, Any], kind: str) -> list[Any]:
    """What this project defines, and not a package."""
    return [n for n in manifest[kind].values() if n["package_name"] == "classicmodels"]


# -- the project ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def duckdb_built(project: Project, built: BuiltWarehouses) -> Warehouse:
    return built.copy("duckdb", "new", "catalog", project.folder).warehouse


@pytest.fixture(scope="module")
def postgres_built(project: Project, built: BuiltWarehouses) -> Warehouse:
    return built.copy("postgres", "new", "catalog", project.folder).warehouse


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.long)])
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    found: Warehouse = request.getfixturevalue(f"{request.param}_built")
    return found


def columns_of(warehouse: Warehouse) -> Columns:
    """What the warehouse has."""
    found: Columns = defaultdict(set)
    for schema, table, column in warehouse.query(
        "select table_schema, table_name, column_name from information_schema.columns"
    ):
        found[schema, table].add(column)
    return found


def test_everything_is_described(project: Project, warehouse: Warehouse) -> None:
    columns = columns_of(warehouse)
    assert (RAW_SCHEMA, "_load_runs") in columns
    found = faults(project.manifest(warehouse), columns)
    assert not found, "\n".join(found)


def test_descriptions_are_comments_in_the_warehouse(project: Project, warehouse: Warehouse) -> None:
    comments = {tuple(place): text for *place, text in warehouse.query(COMMENTS[warehouse.target])}
    expected = {}
    for node in tables(project.manifest(warehouse)):
        if node["resource_type"] != "source":  # those are the loader's
            place = (node["schema"], node["alias"])
            expected[*place, None] = node["description"]
            for name, column in node["columns"].items():
                expected[*place, name] = column["description"]
    assert expected
    assert {place: comments.get(place) for place in expected} == expected


@pytest.mark.long  # test_pages.py has it on the page that people open
def test_columns_are_followed_from_the_shop_to_the_marts(
    project: Project, warehouse: Warehouse
) -> None:
    assert project.lineage(warehouse) >= REVENUE


# -- proof that the check finds what is wrong -----------------------------------------------------

STAGING = "models/staging/classicmodels"
FINDS = {
    (f"{STAGING}/_classicmodels__models.yml", "    description: One row per product line.\n", ""): [
        "model stg_classicmodels__product_lines has no description"
    ],
    (f"{STAGING}/_classicmodels__sources.yml", "One row per sales office.", "Sales offices."): [
        "source offices has a description that says nothing: Sales offices."
    ],
    (
        f"{STAGING}/_classicmodels__sources.yml",
        "      - name: _load_issues",
        "      - name: _lost",
    ): [
        *(
            f"column _lost.{column} does not exist"
            for column in (
                *("batch_id", "column_name", "reason", "sample_key", "table_name"),
                "value_count",
            )
        ),
        "table raw_classicmodels._load_issues is not documented",
    ],
    (
        f"{STAGING}/_classicmodels__sources.yml",
        "          - name: reportsto\n"
        "            data_type: integer\n"
        "            description: \"{{ doc('manager_employee_number') }}\"\n",
        "          - name: reports_to\n",
    ): [
        "column employees.reports_to does not exist",
        "column employees.reports_to has no description",
        "column employees.reportsto is not documented",
    ],
    (
        "models/marts/core/_core__docs.md",
        "Days from order to shipment. Null while not shipped.",
        "",
    ): [
        f"column {model}.days_to_ship has no description"
        for model in ("fact_order_life", "fact_orders", "int_orders_tracked", "orders_obt")
    ],
    (
        "models/marts/core/_core__docs.md",
        "{% docs contact_name %}",
        "{% docs obsolete %}Nobody reads this text.{% enddocs %}\n\n{% docs contact_name %}",
    ): ["doc block obsolete is not used"],
    ("models/marts/core/dim_dates.yml", "One row per day, without gaps", "A day, without gaps"): [
        "model dim_dates does not begin with its grain: A day, without gaps, over the whole years"
        " in which the shop ordered, shipped or was paid, and the unknown day `-1`. Names are"
        " English, independent of the server's language."
    ],
    ("models/marts/core/dim_dates.yml", "Day of the week, 1 (Monday) to 7 (Sunday).", "TODO"): [
        "column dim_dates.weekday_number has a description that says nothing: TODO"
    ],
    ("models/marts/core/dim_dates.yml", "Day of the month, 1 to 31.", "The day of the month."): [
        "column dim_dates.day_of_month has a description that says nothing: The day of the month."
    ],
    ("models/_groups.yml", "email: finance@scalemodels.example", "slack: finance"): [
        "group finance has no owner to write to"
    ],
    (
        "models/_exposures.yml",
        "    description: >\n"
        "      Which customers marketing writes to: the best ones, and those who may be lost. Drawn"
        " each\n"
        "      month.\n",
        "",
    ): ["exposure customer_letters has no description"],
    (
        "models/_exposures.yml",
        "      - ref('popular_products')\n",
        "      - ref('int_data_through')\n",
    ): ["exposure training_data reads int_data_through, no mart"],
    (
        "models/marts/core/fact_payments.yml",
        "        config: {meta: {personal_data: false, unit: USD, additive: true}}\n",
        "",
    ): ["column fact_payments.payment_amount is not classified: {}"],
    (
        "models/marts/sales/sales_daily.yml",
        "personal_data: false, unit: lines, additive: true",
        "personal_data: false, unit: items, additive: true",
    ): [
        "column sales_daily.line_count is not classified:"
        " {'personal_data': False, 'unit': 'items', 'additive': True}"
    ],
    (
        "models/marts/finance/payments_monthly.yml",
        "personal_data: false, unit: payments, additive: true",
        "personal_data: false, unit: none, additive: true",
    ): [
        "column payments_monthly.payment_count cannot be of the class"
        " {'personal_data': False, 'unit': 'none', 'additive': True}"
    ],
    (
        "models/intermediate/sales/_sales__unit_tests.yml",
        "    description: What each status and each missing date means for an order.\n",
        "",
    ): ["unit_test order_milestones has no description"],
    ("macros/percent_of.sql", "percent_of(part, whole)", "percent_of(part, total)"): [
        "argument percent_of(total) has no description",
        "argument percent_of(whole), which does not exist, has no description",
    ],
    (
        "models/marts/_metrics.yml",
        "    description: Pieces sold, without cancelled orders.\n",
        "",
    ): ["metric units has no description"],
    (
        "tests/singular/_singular_tests.yml",
        "    description: >\n"
        "      The wide view has as many lines as the star, and the same sums of quantities"
        " and amounts. All lines\n"
        "      are counted, while `orders_obt_says_what_the_star_says` compares 100,000 (all with"
        " `TESTS=all`).\n",
        "",
    ): ["test orders_obt_reconciles_with_fact_orders has no description"],
    ("seeds/_seeds.yml", "Spelling of the country.", "The country name."): [
        "column countries.country_name has a description that says nothing: The country name."
    ],
}


def test_what_is_missing_is_found(
    project: Project, duckdb_built: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = columns_of(duckdb_built)
    # Where one singular test's properties change, a partial parse forgets those of the others.
    monkeypatch.setenv("DBT_PARTIAL_PARSE", "false")
    with project.edited(list(FINDS)):
        found = faults(project.manifest(duckdb_built), columns)
    assert found == sorted(fault for finds in FINDS.values() for fault in finds)
