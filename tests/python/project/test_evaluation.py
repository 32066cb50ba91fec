"""The evaluation of recommendations, which not every build makes anew."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from support.built import DAY, BuiltWarehouses
from support.project import Project

pytestmark = pytest.mark.long


def test_an_evaluation_is_kept_for_so_many_days(
    built: BuiltWarehouses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = built.copy("duckdb", "new", "evaluation", tmp_path).warehouse
    project = Project(tmp_path / "project", DAY, days_between_evaluations=7)

    def evaluated(day: date, *arguments: str) -> date:
        """On which day it was made after a build of that day."""
        outcome = project.on(day).dbt(
            warehouse, "build", "-s", "recommendation_evaluation", *arguments
        )
        assert outcome.green, outcome
        ((made,),) = warehouse.query(
            "select distinct evaluated_date from marts.recommendation_evaluation"
        )
        assert isinstance(made, date)
        return made

    later = DAY + timedelta(days=6)
    assert evaluated(later) == DAY
    assert evaluated(DAY + timedelta(days=7)) == DAY + timedelta(days=7)
    # Nor is one kept that is of a later day, or where all is asked for.
    assert evaluated(later) == later
    assert evaluated(later + timedelta(days=1), "--full-refresh") == later + timedelta(days=1)
    monkeypatch.setenv("BUILD", "all")
    assert evaluated(later + timedelta(days=2)) == later + timedelta(days=2)
