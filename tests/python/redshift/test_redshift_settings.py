"""TARGET=redshift: where it leads, and what it says when it cannot start."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from loader.destinations.redshift.settings import missing_settings
from pipeline.target import find_warehouse
from pipeline.warehouse import ProfileError
from support.clone import REPO

PASSWORD = {"REDSHIFT_HOST": "h", "REDSHIFT_USER": "u", "REDSHIFT_PASSWORD": "p"}
IAM = {
    "REDSHIFT_HOST": "h",
    "REDSHIFT_USER": "u",
    "REDSHIFT_METHOD": "iam",
    "AWS_REGION": "eu-central-1",
}
PROVISIONED = IAM | {"REDSHIFT_CLUSTER_ID": "shop", "AWS_PROFILE": "analyst"}
SERVERLESS = IAM | {"REDSHIFT_WORKGROUP": "shop"}


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # What leads other tests to a bucket of their own.
    for name in [name for name in os.environ if name.startswith(("AWS_", "REDSHIFT_"))]:
        monkeypatch.delenv(name)
    shutil.copy(REPO / "profiles.example.yml", tmp_path / "profiles.yml")
    return tmp_path


@pytest.mark.parametrize("given", [PASSWORD, PROVISIONED, SERVERLESS])
def test_nothing_is_missing(given: dict[str, str]) -> None:
    assert missing_settings(given) == []


@pytest.mark.parametrize("given", [PASSWORD, PROVISIONED, SERVERLESS])
def test_each_missing_variable_has_its_sentence(given: dict[str, str]) -> None:
    optional = {"REDSHIFT_METHOD", "AWS_PROFILE"}
    for name in given.keys() - optional:
        (sentence,) = missing_settings(given | {name: ""})
        expected = "REDSHIFT_CLUSTER_ID" if name == "REDSHIFT_WORKGROUP" else name
        assert sentence.startswith(f"{expected} is not set: ") and sentence.endswith(".")


def test_another_method_is_refused() -> None:
    assert missing_settings(PASSWORD | {"REDSHIFT_METHOD": "magic"}) == [
        "REDSHIFT_METHOD is magic: set it to database or iam."
    ]


def test_a_build_says_what_is_missing(profiles: Path) -> None:
    with pytest.raises(ProfileError) as raised:
        find_warehouse(REPO, profiles, "redshift")
    assert str(raised.value) == " ".join(["TARGET=redshift cannot start.", *missing_settings({})])
    assert [said.split()[0] for said in missing_settings({})] == [*PASSWORD]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (PASSWORD, {"user": "u", "password": "p"}),
        (
            PROVISIONED,
            {
                "iam": True,
                "db_user": "u",
                "cluster_identifier": "shop",
                "region": "eu-central-1",
                "profile": "analyst",
            },
        ),
        (
            SERVERLESS,
            {
                "iam": True,
                "db_user": "u",
                "serverless_work_group": "shop",
                "region": "eu-central-1",
                "is_serverless": True,
            },
        ),
    ],
    ids=["password", "provisioned", "serverless"],
)
def test_the_driver_gets_what_dbt_would_give_it(
    given: dict[str, str],
    expected: dict[str, object],
    profiles: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    target = find_warehouse(REPO, profiles, "redshift")
    encrypted = {"ssl": True, "sslmode": "verify-full", "is_serverless": False}
    at = {"host": "h", "port": 5439, "database": "dev"}
    assert target.connection == at | encrypted | expected
    assert (target.kind, target.place, target.options) == (
        "redshift",
        "h:5439/dev",
        ("--target", "redshift"),
    )


def test_missing_packages_are_named(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PASSWORD.items():
        monkeypatch.setenv(name, value)
    for name in [*sys.modules]:
        if name.startswith("dbt.adapters.redshift"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dbt.adapters.redshift", None)
    with pytest.raises(ProfileError, match=r"environment\.sh requirements/redshift\.txt"):
        find_warehouse(REPO, profiles, "redshift")
