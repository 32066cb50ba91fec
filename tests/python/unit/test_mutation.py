"""The tool that plants faults in the SQL: what it changes, and that it sees and misses a fault."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.dbt_runner import Dbt
from support.clone import REPO
from tools.faults import Fault, Maker, null_faults
from tools.mutate import BROKEN, NOTICED, SAME, SURVIVED, Journal, Laboratory, reason, report

LINES = {"product": "VARCHAR", "vendor": "VARCHAR", "units": "INTEGER", "price": "DECIMAL(12,2)"}
# The model under test; `price` 1 and 2 are all that its unit test and data test know.
MODEL = """with lines as (

    select * from {{ ref('order_lines') }}  -- all: 1 + 1
    where units <= 10

),

final as (

    select
        lines.product,
        lines.vendor,
        coalesce(sum(lines.units), 0) as units,
        cast(max(case when lines.price > 2 then 3 else 1 end) as numeric(12, 2)) as price
    from lines
    group by
        lines.product,
        lines.vendor

)

select * from final
"""


def faults(text: str) -> list[Fault]:
    return list(Maker("node", "models/m.sql", text, {"order_lines": LINES}, text, 1).faults())


def test_faults_are_of_each_kind_and_change_one_place() -> None:
    made = faults(MODEL)
    said = {f"{fault.kind}: {fault.before} -> {fault.after}" for fault in made}
    assert said >= {
        "comparison: where units <= 10 -> where units < 10",
        "filter: where units <= 10 -> where 1 = 1",
        "off by one: where units <= 10 -> where units <= 11",
        "wrong column: lines.product, -> lines.vendor,",
        "swapped columns: lines.product, lines.vendor,"
        " -> lines.vendor as product, lines.product as vendor,",
    }
    assert any(f.kind == "aggregate" and "max(lines.units)" in f.after for f in made)
    assert any(f.kind == "default" and "else null" in f.after for f in made)
    assert len({fault.code for fault in made} | {MODEL}) == len(made) + 1
    assert len({fault.name for fault in made}) == len(made)
    # What is not calculated stays: comments, references, types.
    for fault in made:
        assert "{{ ref('order_lines') }}  -- all: 1 + 1" in fault.code
        assert "numeric(12, 2)" in fault.code
    assert next(f for f in made if f.kind == "filter").line == 4


def test_faults_in_incremental_branches_are_marked() -> None:
    text = "select 1 as a\n{% if is_incremental() %}\nwhere a > 3\n{% endif %}\nand b > 4\n"
    marked = {fault.before: fault.is_incremental for fault in faults(text)}
    assert marked["where a > 3"] and not marked["and b > 4"]


def test_each_column_can_be_null() -> None:
    first, *others = null_faults("node", "models/m.sql", MODEL, LINES)
    assert first.code.endswith("select * replace (cast(null as VARCHAR) as product) from final\n")
    assert [fault.before for fault in others] == ["vendor", "units", "price"]


def test_the_table_counts_what_changes_rows() -> None:
    tried = [replace(faults(MODEL)[0], number=number) for number in range(1, 6)]
    results = [NOTICED, NOTICED, SURVIVED, SAME, BROKEN]
    outcomes = {fault.name: result for fault, result in zip(tried, results, strict=True)}
    explained = {tried[2].name}
    assert report(tried, outcomes, explained).splitlines()[2:] == [
        "| models | 5 | 2 | 1 | 1 | 1 | 1 | 66.7 % |",
        "| all | 5 | 2 | 1 | 1 | 1 | 1 | 66.7 % |",
    ]


def test_a_run_is_resumed_and_survivors_need_a_reason(tmp_path: Path) -> None:
    one, other, *_ = faults(MODEL)
    journal = Journal(tmp_path / "outcomes.jsonl", resume=False)
    journal.note(one, NOTICED)
    journal.note(other, SURVIVED)
    resumed = Journal(tmp_path / "outcomes.jsonl", resume=True)
    assert resumed.is_settled(one) and not resumed.is_settled(other)
    assert not Journal(tmp_path / "outcomes.jsonl", resume=False).is_settled(one)

    known = [{"fault": "models/m.sql: comparison: * -> where units < 10", "because": "never ten"}]
    found = {fault.after: reason(fault, known) for fault in faults(MODEL)}
    assert found["where units < 10"] == "never ten" and found["where units <= 11"] == ""


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """One over a project of one mart, whose tests know prices of 1 and 2 only."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "models").mkdir()
    (folder / "macros").mkdir()
    schema = (REPO / "macros" / "generate_schema_name.sql").read_text("utf-8")
    (folder / "macros" / "generate_schema_name.sql").write_text(schema, "utf-8")
    project = {"name": "small", "profile": "small", "models": {"+schema": "marts"}}
    output = {"type": "duckdb", "path": str(folder / "warehouse.duckdb"), "schema": "main"}
    profile = {"small": {"target": "duckdb", "outputs": {"duckdb": output}}}
    unit_test = {
        "name": "units_are_summed",
        "model": "sales",
        "given": [{"input": "ref('order_lines')", "rows": [{"units": 1}, {"units": 2}]}],
        "expect": {"rows": [{"units": 3}]},
    }
    columns = [{"name": "product", "data_tests": ["not_null"]}]
    sales = {"name": "sales", "access": "public", "columns": columns}
    models = {"models": [sales], "unit_tests": [unit_test]}
    for name, text in {
        "dbt_project.yml": json.dumps(project),
        "profiles.yml": json.dumps(profile),
        "models/sales.yml": json.dumps(models),
        "models/order_lines.sql": "select 'p' as product, 'v' as vendor, 1 as units, 3.0 as price",
        "models/sales.sql": MODEL,
    }.items():
        (folder / name).write_text(text, "utf-8")
    place = ["--project-dir", str(folder), "--profiles-dir", str(folder)]
    dbt = Dbt([*place, "--target-path", str(folder / "target")], lambda _: None)
    return Laboratory(dbt, folder / "warehouse.duckdb", folder / "loaded.duckdb")


@pytest.mark.long
@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ("sum(lines.units)", "max(lines.units)", NOTICED),  # by the unit test
        ("lines.product,\n        lines.vendor,", "null as product, 'v' as vendor,", NOTICED),
        ("then 3", "then 4", SURVIVED),  # no test looks at the price
        ("units <= 10", "units < 10", SAME),  # no row has ten
        ("lines.vendor,", "lines.seller,", BROKEN),
    ],
)
def test_what_becomes_of_a_fault(
    laboratory: Laboratory, before: str, after: str, outcome: str
) -> None:
    (code,) = (code for code in laboratory.dbt.codes() if code.models == ["sales"])
    fault = Fault(code.id, code.path, 1, "planted", before, after, code.text.replace(before, after))
    assert fault.code != code.text
    assert laboratory.outcome(code, fault) == outcome
