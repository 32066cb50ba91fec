"""Which warehouse is meant: the output of dbt's profile that TARGET names, or the default one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from loader.config import TARGETS, find_config
from loader.destinations.redshift.settings import MORE_PACKAGES
from pipeline.dbt_runner import DbtError, read_output
from pipeline.profile import ProfileFileError, behaviour, read_plain_output, read_profile
from pipeline.project import PROJECT, own_schemas
from pipeline.warehouse import WAREHOUSES, ProfileError, Warehouse

PROFILE = "classicmodels"
EXAMPLE = "profiles.example.yml"


def chosen_warehouse(target: str | None = None) -> Warehouse:
    """The warehouse of TARGET, else of `target` or of loader.yml, else the profile's default.

    Raises ProfileError, UsageError.
    """
    name = os.environ.get("TARGET") or target or find_config().target
    return find_warehouse(PROJECT, ensure_profile(PROJECT), name)


def ensure_profile(project: Path) -> Path:
    """The folder of the profiles.yml that dbt will read; one is copied from the example if needed.

    Raises ProfileError when there is a profiles.yml without a profile of this project.
    """
    chosen = os.environ.get("DBT_PROFILES_DIR")
    if chosen:
        folder = Path(chosen)
    elif (project / "profiles.yml").exists():
        folder = project
    else:
        folder = Path.home() / ".dbt"
    if _read_profile(folder) is not None:
        return folder
    if chosen or folder == project:
        raise ProfileError(
            f"{folder / 'profiles.yml'} has no profile named {PROFILE}: "
            f"copy the one in {EXAMPLE} into it."
        )
    fresh = project / "target" / f"profiles.{os.getpid()}.yml"
    fresh.parent.mkdir(exist_ok=True)
    shutil.copyfile(project / EXAMPLE, fresh)
    fresh.rename(project / "profiles.yml")
    return project


def find_warehouse(project: Path, profiles: Path, name: str | None) -> Warehouse:
    """The warehouse of the output `name` of the profile, or of its default output.

    Raises ProfileError when there is no such output, or its warehouse is not supported.
    """
    profile = _read_profile(profiles) or {}
    outputs = profile.get("outputs", {})
    if name and name not in outputs:
        example = yaml.safe_load((project / EXAMPLE).read_text("utf-8"))[PROFILE]["outputs"]
        if name in example:
            remedy = f"{EXAMPLE} has it: copy it from there."
        else:
            remedy = f"It has {' and '.join(sorted(outputs))}."
        raise ProfileError(
            f"TARGET={name} is not an output in {profiles / 'profiles.yml'}. {remedy}"
        )
    try:
        output = read_plain_output(profile, name) or read_output(project, profiles, name)
    except DbtError as error:
        said = str(error)
        if "Could not find adapter type redshift" in said:
            said = MORE_PACKAGES
        raise ProfileError(f"{profiles / 'profiles.yml'}: {said}") from error
    if output.kind not in WAREHOUSES:
        raise ProfileError(
            f"The output {output.name} of {profiles / 'profiles.yml'} is of type "
            f"{output.kind}; this project loads into {' and '.join(TARGETS)}."
        )
    kind = WAREHOUSES[output.kind]
    connection = kind.connection_of(output, own_schemas(project, output.schema))
    options = () if output.is_default else ("--target", output.name)
    how = behaviour(outputs[output.name])
    return kind(output.name, output.schema, connection, options, how)


def _read_profile(folder: Path) -> dict[str, Any] | None:
    try:
        return read_profile(folder, PROFILE)
    except ProfileFileError as error:
        raise ProfileError(f"{folder / 'profiles.yml'} is not valid YAML: {error}") from error
