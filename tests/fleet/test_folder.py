"""The folder that POOLSCOPE_DIR names: whom it belongs to, and what happens if it is unusable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolscope.fleet import folder as folder_of
from poolscope.fleet.folder import Folder, FolderError, check
from poolscope.fleet.own_files import MAX_FILES_PER_PROCESS
from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.segments import FACTS, unshared, who


def test_the_folder_is_created_for_this_user_only(ledger: Ledger, folder: Path) -> None:
    assert 0o700 == folder.stat().st_mode & 0o777
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    # A file that is mapped must not be made shorter: that would kill the process.
    assert {".pool": 0o400, ".process": 0o600} == modes


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o770)
    with pytest.raises(FolderError, match=r"^others may write to .*; chmod it to 0700, or name a"):
        check(folder)


VOLUMES = {"a mount point": (0o777, None), "of a group": (0o2770, None), "of another": (0o777, 1)}
"""What volumes of containers look like: their mode and their owner, if that is another user."""


@pytest.mark.parametrize("volume", VOLUMES)
def test_what_to_do_with_a_volume_is_said_and_works(folder: Path, volume: str) -> None:
    mode, owner = VOLUMES[volume]
    if owner is not None and os.geteuid() != 0:
        pytest.skip("only root can change the owner of a folder")
    folder.mkdir()
    if owner is not None:
        os.chown(folder, owner, -1)
    folder.chmod(mode)
    with pytest.raises(FolderError) as error:
        check(folder)
    _, found, advice = str(error.value).partition("POOLSCOPE_DIR=")
    assert found, str(error.value)
    inside = Path(advice.partition(",")[0])
    check(inside)
    assert (folder, 0o700) == (inside.parent, inside.stat().st_mode & 0o777)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a folder")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(FolderError, match=r"user 12345, but this process runs as user 0; run"):
        check(folder)


def test_a_file_is_not_a_folder(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(FolderError, match=r"pools is not a folder; name a folder$"):
        check(folder)


def test_only_the_last_level_of_the_folder_is_created(folder: Path) -> None:
    with pytest.raises(FolderError, match=r"pools does not exist; create it first$"):
        check(folder / "shop")


def test_a_folder_that_cannot_be_created_is_named(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(FolderError, match=r"^cannot create or read .*pools/shop: Not a directory;"):
        check(folder / "shop")


@pytest.mark.parametrize("missing", ["POSIX record locks", "posix_fallocate"])
def test_a_system_that_cannot_share_files_is_named(
    folder: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_of, "MISSING", missing)
    with pytest.raises(FolderError, match=f"no {missing}, .*; unset POOLSCOPE_DIR and scrape each"):
        check(folder)
    assert not folder.exists()


@pytest.fixture
def failures() -> Iterator[list[None]]:
    """One element for each pool that could not be shared; there must be some."""
    failures: list[None] = []
    yield failures
    assert failures


def test_an_unusable_folder_makes_pools_private_and_is_logged_once(
    folder: Path,
    failures: list[None],
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder.write_text("")
    segments = Folder(folder).segments(FACTS, lambda: failures.append(None))
    for _ in range(2):
        ledger = Ledger(Limits(3, 3, 0), clock, 5.0, segments)
        ledger.served("a", clock(), clock(), who("pay"))
        assert 1 == ledger.read().in_use
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "POOLSCOPE_DIR cannot be used, so the exporter does not see all pools: "
    )
    assert 2 == len(failures)


def test_a_full_disk_makes_the_pool_private(
    folder: Path,
    failures: list[None],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    segments = Folder(folder).segments(FACTS, lambda: failures.append(None))
    assert 0 == Ledger(Limits(3, 3, 0), clock, 5.0, segments).read().in_use
    assert [".process"] == [path.suffix for path in folder.iterdir()]
    assert "No space left on device" in caplog.records[0].getMessage()


def test_a_process_that_creates_too_many_pools_shares_only_the_first_ones(
    folder: Path, failures: list[None], clock: FakeClock
) -> None:
    segments = Folder(folder).segments(FACTS, lambda: failures.append(None))
    ledgers = [
        Ledger(Limits(3, 3, 0), clock, 5.0, segments) for _ in range(MAX_FILES_PER_PROCESS + 3)
    ]
    assert MAX_FILES_PER_PROCESS == len(list(folder.glob("*.pool")))
    assert MAX_FILES_PER_PROCESS + 3 == len(ledgers)
    assert 3 == len(failures)


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.delenv("POOLSCOPE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    segments = Folder.of_environment().segments(FACTS, unshared)
    Ledger(Limits(3, 3, 0), clock, 5.0, segments)
    assert [] == list(tmp_path.iterdir())
