"""How the tests are dealt out to the processes of a run."""

from __future__ import annotations

import re

import pytest

from support.clone import REPO
from support.one_run import SECONDS, together


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("a/test_build.py::TestX::test_it[1::2]", ("a/test_build.py", "test_build")),
        (
            "a/test_x.py::test_tests_pass[a-b]",
            ("a/test_x.py::test_tests_pass[a-b]", "test_tests_pass"),
        ),
    ],
)
def test_a_file_goes_together_and_a_long_test_alone(nodeid: str, expected: tuple[str, str]) -> None:
    assert together(nodeid) == expected


def test_what_is_said_to_be_long_is_there() -> None:
    files = list((REPO / "tests" / "python").rglob("test_*.py"))
    tests = re.findall(r"def (test_\w+)", "".join(path.read_text("utf-8") for path in files))
    assert set(SECONDS) <= {path.stem for path in files} | set(tests)
