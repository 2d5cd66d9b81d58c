"""The files of a listener: malformed ones, and when they are loaded again."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

import pytest

from poolscope.exporter.site import Site
from support.certificates import needs_openssl
from support.listeners import Serve, certificates, get, made, name_of, serve, tls, trusting, users
from support.logs import messages_of_poolscope
from support.waiting import eventually

__all__ = ["certificates", "get", "made", "name_of", "serve", "tls", "trusting", "users"]


class Log:
    """The error messages of the exporter."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        caplog.set_level(logging.INFO, "poolscope.exporter")

    def errors(self) -> list[str]:
        errors = [r.getMessage() for r in self.caplog.records if r.levelname == "ERROR"]
        self.caplog.clear()
        return errors


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


class TestMalformedFiles:
    async def test_the_old_configuration_is_kept(self, serve: Serve, log: Log) -> None:
        served = await serve(users(ann="secret"))
        await served.write("tls: 1")
        (error,) = log.errors()
        assert error.startswith(
            f"cannot reload, keeping the old configuration: {served.path}: tls: unknown key"
        )
        assert 200 == (await get(served, user="ann:secret"))[0]
        assert 401 == (await get(served))[0]

    async def test_each_error_is_logged_once(self, serve: Serve, log: Log) -> None:
        served = await serve(users(ann="secret"))
        for text in ("tls: 1", "tls: 10", "tls: 1"):
            served.path.write_text(text)
            for _ in range(5):
                await served.listener.reload_if_changed()
            assert 1 == len(log.errors())
        served.path.unlink()
        for _ in range(5):
            await served.listener.reload_if_changed()
        missing = f"{served.path}: cannot be read: No such file or directory"
        assert [f"cannot reload, keeping the old configuration: {missing}"] == log.errors()
        served.path.write_text(users(bob="other"))
        await served.listener.reload_if_changed()
        await served.listener.reload_if_changed()
        assert 200 == (await get(served, user="bob:other"))[0]
        assert [] == log.errors()

    @needs_openssl
    async def test_a_key_that_is_replaced_after_its_certificate(
        self, serve: Serve, certificates: Path, log: Log
    ) -> None:
        served = await serve(tls())
        context = trusting(certificates)
        shutil.copy(certificates / "renewed.crt", certificates / "server.crt")
        for _ in range(3):
            await served.listener.reload_if_changed()
        assert "server" == await name_of(served, context)
        (error,) = log.errors()
        assert "key_file" in error
        shutil.copy(certificates / "renewed.key", certificates / "server.key")
        for _ in range(3):
            await served.listener.reload_if_changed()
        assert "renewed" == await name_of(served, context)
        assert [] == log.errors()

    @needs_openssl
    async def test_a_site_that_cannot_start(
        self, serve: Serve, certificates: Path, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = await serve(users(ann="secret"))
        start = Site.start
        failed: list[Site] = []

        async def fail(site: Site) -> None:
            failed.append(site)
            await start(site)
            raise OSError("no more files")

        with monkeypatch.context() as patch:
            patch.setattr(Site, "start", fail)
            await served.write(tls())
        assert ["cannot reload, keeping the old configuration: no more files"] == log.errors()
        assert (401, 200) == (
            (await get(served))[0],
            (await get(served, user="ann:secret"))[0],
        )
        assert [-1] == [site._socket.fileno() for site in failed]
        for _ in range(2):
            await served.listener.reload_if_changed()
        assert (200, "here") == await get(served, trusting(certificates))


class TestReload:
    async def test_unchanged_files_are_not_loaded(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "poolscope.exporter")
        served = await serve(users(ann="secret"))
        for _ in range(5):
            await served.listener.reload_if_changed()
        assert [] == messages_of_poolscope(caplog)
        served.path.touch()
        for _ in range(5):
            await served.listener.reload_if_changed()
        assert [f"reloaded {served.path}"] == messages_of_poolscope(caplog)

    async def test_a_file_that_is_being_written_is_not_read(self, serve: Serve) -> None:
        served = await serve(users(ann="secret"))
        served.path.write_text("")
        await served.listener.reload_if_changed()
        assert 401 == (await get(served))[0]
        served.path.write_text(users(bob="other"))
        await served.listener.reload_if_changed()
        assert [401, 401] == [(await get(served, user=user))[0] for user in (None, "bob:other")]
        await served.listener.reload_if_changed()
        assert 200 == (await get(served, user="bob:other"))[0]

    @needs_openssl
    async def test_symbolic_links_are_followed(self, serve: Serve, certificates: Path) -> None:
        current = certificates / "current"
        current.symlink_to("server.crt")
        (certificates / "current.key").symlink_to("server.key")
        served = await serve(
            "tls_server_config: {cert_file: current, key_file: current.key}\n",
        )
        for name in ("current", "current.key"):
            (certificates / name).unlink()
        current.symlink_to("renewed.crt")
        (certificates / "current.key").symlink_to("renewed.key")
        for _ in range(2):
            await served.listener.reload_if_changed()
        assert "renewed" == await name_of(served, trusting(certificates))

    async def test_files_are_checked_at_each_tick(self, serve: Serve) -> None:
        ticks: asyncio.Queue[None] = asyncio.Queue()
        served = await serve("", ticks.get)
        served.path.write_text(users(ann="secret"))
        for _ in range(3):
            ticks.put_nowait(None)
        await eventually(True, lambda: bool(served.listener._config.users))
        assert 401 == (await get(served))[0]
        await served.listener.close()
        assert served.listener._poll_task is not None
        assert served.listener._poll_task.done()
