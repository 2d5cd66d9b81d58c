"""What is installed in a folder or an archive, and what stands beside it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import blockbuster
import pytest

from poolscope.callsites import installed, program
from poolscope.callsites.frames import here
from poolscope.callsites.installed import NOTHING, installed_in
from poolscope.callsites.origins import APPLICATION, INSTALLED, rank_of
from support.layouts import archive, distribution, write

Pack = Callable[[dict[str, str]], str]


@pytest.fixture(params=["folder", "archive", "folder in an archive"])
def pack(request: pytest.FixtureRequest, tmp_path: Path) -> Pack:
    """Packs files, and returns the folder that they are imported from."""

    def packed(files: dict[str, str]) -> str:
        if request.param == "folder":
            write(tmp_path / "all", files)
            return str(tmp_path / "all")
        inside = "deps/python/" if request.param == "folder in an archive" else ""
        archive(tmp_path / "all.zip", {inside + name: text for name, text in files.items()})
        return str(tmp_path / "all.zip" / inside)

    return packed


def test_a_folder_of_the_application_that_a_distribution_has_too(pack: Pack) -> None:
    """Some distributions install their tests as a package `tests`, or a module beside ours."""
    theirs = distribution("clients", {"company/client.py": "", "tests/test_client.py": ""})
    folder = pack({**theirs, "company/shop.py": "", "tests/test_shop.py": "", "company/x/y.py": ""})
    for module, rank in {
        "company.client": INSTALLED,
        "tests.test_client": INSTALLED,
        "company.shop": APPLICATION,
        "company.x.y": APPLICATION,
        "tests.test_shop": APPLICATION,
        "clients": APPLICATION,
    }.items():
        assert rank == rank_of(module, f"{folder}/{module.replace('.', '/')}.py"), module


@pytest.mark.parametrize("record", ["RECORD", "top_level.txt", ""])
def test_each_kind_of_metadata_will_do(pack: Pack, record: str) -> None:
    folder = pack(distribution("Shop-Lib", {"Shop_Lib/pools.py": ""}, record))
    assert installed_in(folder).has("Shop_Lib/pools.py")
    assert not installed_in(folder).has("shop/pools.py")


def test_the_egg_info_of_a_checkout_is_no_installation(pack: Pack) -> None:
    folder = pack({"shop/cart.py": "", "shop.egg-info/top_level.txt": "shop"})
    assert APPLICATION == rank_of("shop.cart", f"{folder}/shop/cart.py")


def test_the_egg_info_of_an_older_pip_will_do(pack: Pack) -> None:
    """It lists its files relative to itself."""
    listed = "../shoplib/__init__.py\n../shoplib/pools.py\nPKG-INFO\ntop_level.txt\n"
    files = {"shoplib/pools.py": "", "shop_lib-1.0-py3.11.egg-info/installed-files.txt": listed}
    folder = pack({**files, "shop/cart.py": ""})
    assert INSTALLED == rank_of("shoplib.pools", f"{folder}/shoplib/pools.py")
    assert APPLICATION == rank_of("shop.cart", f"{folder}/shop/cart.py")


@pytest.mark.parametrize("folder", ["/srv/eggs/Shop_Lib-1.0-py3.11.egg", "C:\\eggs\\Shop.egg"])
def test_an_egg_holds_nothing_else(folder: str) -> None:
    """As buildout has it, each distribution in a folder or an archive of its own."""
    separator = "\\" if ":" in folder else "/"
    assert INSTALLED == rank_of("shoplib.pools", separator.join([folder, "shoplib", "pools.py"]))


@pytest.mark.parametrize("damage", ["no archive", "cut", "changed", "not there", "a name"])
def test_what_cannot_be_read_has_nothing_installed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "app.pyz"
    archive(path, distribution("shoplib", {"shoplib/pools.py": "x" * 1000}))
    whole = path.read_bytes()
    if damage == "no archive":
        path.write_bytes(b"PK or not")
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        path.write_bytes(whole.replace(b"sha256", b"sha255"))
    elif damage == "not there":
        path.unlink()
    folder = "\0" if damage == "a name" else str(path)
    assert NOTHING == installed_in(folder)


async def test_nothing_is_read_on_an_event_loop(tmp_path: Path) -> None:
    write(tmp_path, distribution("shoplib", {"shoplib/pools.py": "", "shoplib/__init__.py": ""}))
    program._found.clear()
    with blockbuster.blockbuster_ctx():
        assert INSTALLED == rank_of("shoplib.pools", str(tmp_path / "shoplib" / "pools.py"))
        assert "test_installed.py" in str(here())


def test_any_number_of_folders_takes_bounded_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installed, "MAX_FOLDERS", 3)
    monkeypatch.setattr(installed, "_folders", {})
    for number in range(10):
        installed_in(str(tmp_path / str(number)))
    assert len(installed._folders) <= 3


def test_an_archive_of_another_compression(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "app.pyz", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in distribution("shoplib", {"shoplib/pools.py": ""}).items():
            packed.writestr(name, text)
    assert installed_in(str(tmp_path / "app.pyz")).has("shoplib/pools.py")
