"""The copy on which a build works: what readers see, and what is left whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

import pipeline.working_copy
from loader import LoadError
from pipeline.steps import Steps
from pipeline.warehouse import DuckDB
from pipeline.working_copy import CopyError, WorkingCopy, copied

# Opens a warehouse, does what it is told, and waits for its end.
PROGRAM = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read") as warehouse:
    for statement in sys.argv[3:]:
        warehouse.execute(statement)
    print("open", flush=True)
    sys.stdin.readline()
    print(warehouse.execute("select * from marts.v").fetchall(), flush=True)
"""


@contextmanager
def program(path: Path, how: str, *statements: str) -> Iterator[subprocess.Popen[str]]:
    """Another program that has the warehouse open."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), how, *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout and running.stderr
        assert running.stdout.readline() == "open\n", running.stderr.read()
        yield running
        running.kill()


def write(path: Path, number: int) -> None:
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute(f"create or replace table marts.t as select {number} as n")


def read(path: Path) -> list[tuple[int]]:
    """Through the view, which has the database's name."""
    with duckdb.connect(str(path), read_only=True) as warehouse:
        rows: list[tuple[int]] = warehouse.execute("select * from marts.v").fetchall()
    return rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A warehouse of one row, 1."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "w.duckdb"
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute(
            "create schema marts; create table marts.t as select 1 as n;"
            'create view marts.v as select * from "w"."marts"."t"'
        )
    return path


@pytest.fixture
def steps() -> Steps:
    return Steps(0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.working_copy, "PATIENCE", 0.3)


def copy_of(path: Path) -> WorkingCopy:
    return WorkingCopy(DuckDB("dev", "main", {"path": str(path)}))


def build(path: Path, steps: Steps, number: int, error: BaseException | None = None) -> list[str]:
    """A build that writes a number, and fails or is published."""
    with copy_of(path) as copy:
        made = copy.make(steps)
        assert isinstance(made, DuckDB) and made.place == str(path)
        write(Path(made.file), number)
        if error:
            raise error
        return copy.publish()


def names(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


def test_readers_keep_what_they_opened(path: Path, steps: Steps) -> None:
    path.chmod(0o640)
    with program(path, "read") as reader:
        for number in (2, 3):
            with copy_of(path) as copy:
                made = copy.make(steps)
                assert isinstance(made, DuckDB)
                write(Path(made.file), number)
                with program(path, "read") as another:  # nobody is refused meanwhile
                    assert another.communicate("\n")[0] == f"[({number - 1},)]\n"
                copy.publish()
            assert read(path) == [(number,)]
        assert reader.communicate("\n")[0] == "[(1,)]\n"
    assert names(path.parent) == ["w.duckdb"]
    assert path.stat().st_mode & 0o7777 == 0o640


def test_a_build_that_fails_leaves_the_warehouse_and_its_copy(path: Path, steps: Steps) -> None:
    before = path.read_bytes()
    for number in (2, 3):  # there is one failed copy, that of the last build
        with pytest.raises(RuntimeError, match="no"):
            build(path, steps, number, RuntimeError("no"))
        assert path.read_bytes() == before
        assert names(path.parent) == ["w.duckdb", "w.duckdb.failed", "w.duckdb.failed/w.duckdb"]
        assert read(path.parent / "w.duckdb.failed" / "w.duckdb") == [(number,)]
    build(path, steps, 4)
    assert read(path) == [(4,)] and names(path.parent) == ["w.duckdb"]


def test_what_remains_is_said(path: Path, steps: Steps) -> None:
    with copy_of(path) as copy:
        copy.make(steps)
        assert (copy.label, copy.remains) == (f"dev: {path}", "")
        copy.set_aside()
    failed = path.parent / "w.duckdb.failed" / "w.duckdb"
    assert copy.label == f"dev: {failed}, a build that failed; {path} is as it was before"
    assert str(failed) in copy.remains


def test_the_record_of_a_failed_load_is_kept(path: Path, steps: Steps) -> None:
    with pytest.raises(LoadError):
        build(path, steps, 2, LoadError("The source is gone."))
    assert read(path) == [(2,)] and names(path.parent) == ["w.duckdb"]
    nowhere = path.with_name("new.duckdb")
    with pytest.raises(LoadError), copy_of(nowhere) as copy:
        copy.make(steps)
        raise LoadError("The source is gone.")
    assert names(path.parent) == ["w.duckdb"]


def test_an_interrupted_build_leaves_nothing(path: Path, steps: Steps) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(path, steps, 2, KeyboardInterrupt())
    assert read(path) == [(1,)] and names(path.parent) == ["w.duckdb"]


def test_the_first_build_has_nothing_to_copy(tmp_path: Path, steps: Steps) -> None:
    path = tmp_path / "w.duckdb"
    with copy_of(path) as copy:
        made = copy.make(steps)
        assert isinstance(made, DuckDB)
        duckdb.connect(made.file).close()
        assert not path.exists()
        copy.publish()
    assert names(tmp_path) == ["w.duckdb"]


def test_what_a_killed_build_left_is_removed(path: Path, steps: Steps) -> None:
    left = path.parent / "w.duckdb.building"
    (left / "w.duckdb.tmp").mkdir(parents=True)
    for name in ("w.duckdb", "w.duckdb.wal", "w.duckdb.loading", "w.duckdb.tmp/block"):
        (left / name).write_text("half")
    build(path, steps, 2)
    assert read(path) == [(2,)] and names(path.parent) == ["w.duckdb"]


@pytest.mark.parametrize("what", ["a file", "a file of somebody"])
def test_nothing_of_others_is_removed(what: str, path: Path, steps: Steps) -> None:
    folder = path.parent / "w.duckdb.failed"
    if what == "a file":
        folder.write_text("notes")
    else:
        folder.mkdir()
        (folder / "notes").write_text("notes")
    with pytest.raises(CopyError, match=r"w\.duckdb\.failed is in the way or cannot be written"):
        build(path, steps, 2)
    assert read(path) == [(1,)] and folder.exists()


def test_a_link_stays_and_its_target_is_replaced(
    path: Path, tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "elsewhere" / "w.duckdb"
    target.parent.mkdir()
    path.rename(target)
    path.symlink_to(Path("..", "elsewhere", "w.duckdb"))
    monkeypatch.chdir(tmp_path)
    build(Path("folder", "w.duckdb"), steps, 2)  # also by a path that is relative
    assert read(path) == [(2,)]
    assert path.is_symlink() and not target.is_symlink()
    assert names(tmp_path) == ["elsewhere", "elsewhere/w.duckdb", "folder", "folder/w.duckdb"]


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")
def test_a_link_to_another_file_system(path: Path, steps: Steps) -> None:
    there = Path("/dev/shm", f"classicmodels_{os.getpid()}")
    there.mkdir()
    try:
        if there.stat().st_dev == path.stat().st_dev:
            pytest.skip("no second file system")
        shutil.move(path, there / "w.duckdb")
        path.symlink_to(there / "w.duckdb")
        build(path, steps, 2)
        with pytest.raises(RuntimeError):
            build(path, steps, 3, RuntimeError())
        assert read(path) == [(2,)] and path.is_symlink()
        assert names(there) == ["w.duckdb", "w.duckdb.failed", "w.duckdb.failed/w.duckdb"]
    finally:
        shutil.rmtree(there)


def test_the_log_of_a_killed_program_is_taken_in_once(path: Path, steps: Steps) -> None:
    """DuckDB would apply it to the new file once more."""
    with program(path, "write", "insert into marts.t values (7)") as killed:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert (path.parent / "w.duckdb.wal").exists()
    with copy_of(path) as copy:
        made = copy.make(steps)
        assert isinstance(made, DuckDB)
        assert read(Path(made.file)) == [(1,), (7,)]
        copy.publish()
    assert names(path.parent) == ["w.duckdb"] and read(path) == [(1,), (7,)]


def test_a_program_that_writes_is_named(path: Path, steps: Steps) -> None:
    with program(path, "write") as writer:
        said = rf"w\.duckdb is open in another program \(PID {writer.pid}\)"
        with pytest.raises(CopyError, match=said):
            build(path, steps, 2)
    assert read(path) == [(1,)] and names(path.parent) == ["w.duckdb"]


def test_nobody_writes_during_a_build(path: Path, steps: Steps) -> None:
    """DuckDB itself refuses, as long as the copy is not published."""
    with copy_of(path) as copy:
        copy.make(steps)
        with (
            pytest.raises(AssertionError, match="Could not set lock on file"),
            program(path, "write"),
        ):
            pass
        copy.publish()
    with program(path, "write"):
        pass


@pytest.mark.parametrize("how", ["written", "replaced", "made"])
def test_changes_of_others_are_never_lost(
    how: str, path: Path, tmp_path: Path, steps: Steps
) -> None:
    """Those that no lock holds back, such as a file that is brought back from a backup."""
    other = tmp_path / "other.duckdb"
    shutil.copyfile(path, other)
    if how == "made":
        path.unlink()
    with pytest.raises(CopyError, match="by another program"), copy_of(path) as copy:
        copy.make(steps)
        if how == "written":
            path.write_bytes(other.read_bytes())
        else:
            other.replace(path)
        copy.publish()
    assert read(path) == [(1,)]
    assert (path.parent / "w.duckdb.building").exists() is False


@pytest.mark.parametrize("is_supported", [True, False])
def test_a_copy_has_all_bytes(
    is_supported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the system cannot copy within the kernel."""
    monkeypatch.setattr(pipeline.working_copy, "CHUNK", 1000)
    if not is_supported:
        monkeypatch.delattr(os, "copy_file_range")
    file, copy, said = tmp_path / "file", tmp_path / "copy", list[str]()
    file.write_bytes(os.urandom(12_345))
    with file.open("rb") as source:
        copied(source.fileno(), file, copy, said.append)
    assert copy.read_bytes() == file.read_bytes() and len(said) == 13


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(path: Path, steps: Steps) -> None:
    os.chown(path, 65534, 65533)
    path.chmod(0o604)
    notes = build(path, steps, 2)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (65534, 65533, 0o604)
    assert len(notes) == 1


def test_another_name_of_the_file_is_said(path: Path, steps: Steps) -> None:
    (path.parent / "other.duckdb").hardlink_to(path)
    assert "has another name (a hard link), which stays as it was" in build(path, steps, 2)[1]


def test_a_warehouse_that_is_no_file_is_used_itself(
    steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse = DuckDB("dev", "main", {"path": "md:shop"})
    with WorkingCopy(warehouse) as copy:
        assert copy.make(steps) is warehouse
        assert not copy.is_made and copy.publish() == []
    assert "the build works on md:shop itself" in capsys.readouterr().out


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="a small disk needs root"
)
def test_space_is_checked_first(path: Path, tmp_path: Path, steps: Steps) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        shutil.copyfile(path, disk / "w.duckdb")
        build(disk / "w.duckdb", steps, 2)
        (disk / "other").write_bytes(bytes(6 << 20))
        with pytest.raises(
            CopyError, match=r"needs 1\d\.\d MB beside .*but .*disk has 1\d\.\d MB free"
        ):
            build(disk / "w.duckdb", steps, 3)
        assert names(disk) == ["other", "w.duckdb"] and read(disk / "w.duckdb") == [(2,)]
        # What a build writes may still be too much.
        (disk / "other").unlink()
        with (
            pytest.raises(duckdb.Error, match=r"(?i)space|disk|write"),
            copy_of(disk / "w.duckdb") as copy,
        ):
            made = copy.make(steps)
            assert isinstance(made, DuckDB)
            with duckdb.connect(made.file) as warehouse:
                warehouse.execute("create table marts.big as select uuid() from range(9000000)")
        assert read(disk / "w.duckdb") == [(2,)]
        build(disk / "w.duckdb", steps, 4)
        assert names(disk) == ["w.duckdb"] and read(disk / "w.duckdb") == [(4,)]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
