"""Snapshots look at the rows that changed, and at all of them wherever others could differ too."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from loader import Options
from pipeline.undo import snapshots_of, undo
from support.story import SNAPSHOTS, STATEFUL, Story, begun_for
from support.undone import newest_load, opened

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def story(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    with begun_for(request, tmp_path_factory, Random(6), "history_limits") as story:
        yield story


def compared(story: Story, *arguments: str) -> dict[str, str]:
    """What each snapshot says after a build: "all keys", or how many."""
    outcome = story.run_dbt(*arguments)
    assert outcome.green, outcome
    found = {
        name: outcome.messages[name] for name in SNAPSHOTS.values() if name in outcome.statuses
    }
    assert all(said.endswith("keys compared") for said in found.values())
    return {name: said.removesuffix(" compared") for name, said in found.items()}


def change(story: Story) -> None:
    """Another credit limit of the first customer, some time later."""
    story.clock.pass_by(Random(1))
    number = story.shop.read("customers")[0]["customerNumber"]
    story.shop.run(
        'update customers set "creditLimit" = coalesce("creditLimit", 0) + 1'
        ' where "customerNumber" = ?',
        number,
    )


def remove(story: Story) -> None:
    """The last customer is gone, some time later."""
    story.clock.pass_by(Random(2))
    number = story.shop.read("customers")[-1]["customerNumber"]
    story.shop.run('delete from customers where "customerNumber" = ?', number)


def built(story: Story) -> dict[str, str]:
    """Load, build, and compare all with the account; what each snapshot says."""
    story.load()
    story.account.note(story.last_stamp, story.loaded)
    said = compared(story)
    story.check()
    return said


def versions(story: Story) -> list[list[tuple[Any, ...]]]:
    return [
        sorted(story.warehouse.query(f"select * from snapshots.{s.name}"), key=repr)
        for s in snapshots_of()
    ]


def test_what_changed_and_what_is_gone(story: Story) -> None:
    change(story)
    nothing = dict.fromkeys(SNAPSHOTS.values(), "0 of the keys")
    assert built(story) == {**nothing, "customers_snapshot": "1 of the keys"}
    remove(story)
    assert built(story) == {**nothing, "customers_snapshot": "1 of the keys"}
    # Of several loads all rows, and of a load that was compared none.
    change(story)
    story.load()
    remove(story)
    assert built(story) == {**nothing, "customers_snapshot": "2 of the keys"}
    assert built(story) == nothing


def test_a_warehouse_that_was_built_before_is_compared_once(story: Story) -> None:
    """No version is lost or made by that, and what changed meanwhile is found."""
    story.warehouse.query("drop table snapshots.compared_loads")
    before = versions(story)
    assert set(compared(story).values()) == {"all keys"}
    assert versions(story) == before
    story.warehouse.query("drop table snapshots.compared_loads")
    remove(story)
    assert set(built(story).values()) == {"all keys"}
    assert set(compared(story).values()) == {"0 of the keys"}


def test_other_columns_or_code(story: Story) -> None:
    """Only the snapshots that they are of; also the code of a view below."""
    edited = story.project.edited
    settings = ("snapshots/_snapshots.yml", "        - extension\n", "")
    with edited([settings]):
        said = compared(story)
        assert [name for name in said if said[name] == "all keys"] == ["employees_snapshot"]
    view = "models/staging/classicmodels/stg_classicmodels__product_lines.sql"
    with edited([(view, "as text_description", "|| '!' as text_description")]):
        # On PostgreSQL a view that is made anew takes those over it with it.
        views = ("stg_classicmodels__product_lines", "int_product_lines_distinct")
        chosen = ("--select", *views, *STATEFUL)
        said = compared(story, *chosen)
        # The settings are as they were, which is a change too.
        assert said["product_lines_snapshot"] == said["employees_snapshot"] == "all keys"
        assert said["products_snapshot"] == "0 of the keys"
    assert compared(story, *chosen)["product_lines_snapshot"] == "all keys"


def test_a_table_that_was_emptied_has_no_tombstones(story: Story) -> None:
    remove(story)
    story.load(Options(full_refresh=True, max_delete_share=1))
    story.account.note(story.last_stamp, story.loaded)
    assert set(compared(story).values()) == {"all keys"}
    story.check()


def test_everything_can_be_asked_for(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD", "all")
    assert set(compared(story).values()) == {"all keys"}


def test_a_load_that_arrives_meanwhile_leaves_no_version(story: Story) -> None:
    """Its versions would have the date of the load before, and facts would not look at them."""
    change(story)
    story.load()
    story.account.note(story.last_stamp, story.loaded)
    before = versions(story)
    newest = "{{ newest_load() }}) as loads"
    runs = "{{ source('load_audit', '_load_runs') }}"
    earlier = (
        f"{{{{ newest_load() }}}} and started_at < (select max(started_at) from {runs})) as loads"
    )
    begun = "macros/snapshots/compared_loads.sql"
    with story.project.edited([(begun, newest, earlier)]):
        outcome = story.run_dbt("--select", "customers_snapshot")
        assert outcome.failed == {"customers_snapshot"}
        assert "A load arrived while customers_snapshot was made" in str(outcome)
    assert versions(story) == before
    compared(story)
    story.check()


def test_what_was_taken_back_returns_where_the_shop_stands_by_it(story: Story) -> None:
    change(story)
    built(story)
    before = versions(story)
    undo(opened(story.warehouse), newest_load(story), "a test", apply=True)
    assert versions(story) != before
    assert compared(story)["customers_snapshot"] == "all keys"
    assert versions(story) == before
