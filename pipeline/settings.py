"""What a person has set for a build: the loader's file, the day, and how much to build."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date

from loader.config import Config, find_config
from pipeline.alerts import Alerts, alerts_of
from pipeline.changes import Wanted, wanted
from pipeline.expectations import Expectations
from pipeline.postgres_session import refuse_bad_memory
from pipeline.project import raw_schema


class BuildError(RuntimeError):
    """The build cannot start; the text says why and what to do."""


def given_day() -> str:
    """The day in AS_OF_DATE; empty where it is. Raises BuildError."""
    given = os.environ.get("AS_OF_DATE", "")
    try:
        return str(date.fromisoformat(given)) if given else ""
    except ValueError:
        raise BuildError(f"AS_OF_DATE is a day such as 2026-11-20, not {given}.") from None


def refuse_other_schema(config: Config) -> None:
    """Raise BuildError when the loader would write to another schema than dbt reads."""
    if config.raw_schema not in (None, raw_schema()):
        raise BuildError(
            f"The loader's configuration says raw_schema: {config.raw_schema}, but dbt reads"
            f" {raw_schema()}: leave it out, or change raw_schema in dbt_project.yml too."
        )


@dataclass(frozen=True)
class Settings:
    """What a person has set for a build: the loader's file, the day, and how much to build."""

    config: Config
    day: str
    wanted: Wanted
    expectations: Expectations
    alerts: Alerts

    @property
    def variables(self) -> list[str]:
        """The options of dbt that name the day."""
        return ["--vars", json.dumps({"as_of_date": self.day})] if self.day else []


def given_settings() -> Settings:
    """The settings, validated before anything is loaded.

    Raises BuildError, LoadError, WantedError.
    """
    config = find_config()
    others = (Expectations(config.expect), alerts_of(config.alerts))
    settings = Settings(config, given_day(), wanted(), *others)
    refuse_other_schema(settings.config)
    refuse_bad_memory(BuildError)
    return settings
