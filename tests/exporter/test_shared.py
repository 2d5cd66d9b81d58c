"""What many clients ask for at once is made once, in a thread, and not sent to who has it."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import BaseTestServer, TestServer, make_mocked_request

from poolscope.exporter import api
from poolscope.exporter.application import Exporter
from poolscope.exporter.probes import Probes
from poolscope.exporter.shared import Shared, render
from poolscope.fleet.fleet import Fleet
from support.waiting import PATIENCE, eventually

TestServer.__test__ = False

POOLS: dict[str, Any] = {"version": "1", "pools": [{"pool": "a"}, {"pool": "é"}], "servers": []}


class TestRendering:
    @pytest.mark.parametrize(
        "document", [POOLS, {"pools": []}, {"pools": [{}]}, {"x": 1, "pools": []}]
    )
    def test_is_the_document(self, document: dict[str, Any]) -> None:
        rendered = render(document)
        assert document == json.loads(rendered.text)
        assert rendered.text == gzip.decompress(rendered.compressed)

    @pytest.mark.parametrize(
        ("accepted", "compressed"),
        [
            ("", False), ("gzip", True), ("deflate, GZIP;q=0.5", True), ("*", True),
            ("gzip;q=0", False), ("gzip; q=0.000, br", False), ("identity", False),
            ("x-gzipped", False), ("br,gzip", True), ("gzip;q=1.0", True),
        ],
    )  # fmt: skip
    def test_is_compressed_for_who_accepts_it(self, accepted: str, compressed: bool) -> None:
        request = make_mocked_request("GET", "/", headers={"Accept-Encoding": accepted})
        rendered = render(POOLS)
        answer = rendered.answer(request)
        assert compressed == (answer.headers.get("Content-Encoding") == "gzip")
        assert (rendered.compressed if compressed else rendered.text) == answer.body
        assert "Accept-Encoding" == answer.headers["Vary"]

    def test_is_not_sent_to_who_has_it(self) -> None:
        rendered = render(POOLS)
        statuses = [
            rendered.answer(make_mocked_request("GET", "/", headers={"If-None-Match": tag})).status
            for tag in (rendered.tag, f'"other", W/{rendered.tag}', '"other"', "", "nonsense")
        ]
        assert [304, 304, 200, 200, 200] == statuses
        assert rendered.tag != render({"pools": []}).tag


class TestSharing:
    async def test_those_who_wait_get_the_same(self) -> None:
        made: list[int] = []
        go = asyncio.Event()

        async def make() -> int:
            made.append(len(made))
            await go.wait()
            return made[-1]

        shared = Shared(make)
        asking = [asyncio.create_task(shared.get()) for _ in range(50)]
        await eventually([0], lambda: made)
        asking[0].cancel()
        go.set()
        assert [0] * 49 == (await asyncio.gather(*asking, return_exceptions=True))[1:]
        assert 1 == await shared.get()

    async def test_an_error_is_of_those_who_wait_alone(self) -> None:
        fails = True

        async def make() -> int:
            if fails:
                raise ZeroDivisionError
            return 1

        shared = Shared(make)
        for outcome in await asyncio.gather(
            *(shared.get() for _ in range(3)), return_exceptions=True
        ):
            assert isinstance(outcome, ZeroDivisionError)
        fails = False
        assert 1 == await shared.get()


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[BaseTestServer]:
    fleet = Fleet(folder)
    exporter = Exporter(fleet, Probes(()), Probes(()), per_process=False)
    async with TestServer(exporter.make_application()) as server:
        yield server
    fleet.close()


async def test_others_are_answered_while_the_pools_are_rendered(
    server: BaseTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    go = threading.Event()
    document = api.document

    def slow(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        assert go.wait(PATIENCE)
        return document(*args)

    monkeypatch.setattr(api, "document", slow)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(path: str) -> tuple[int, Any]:
            async with session.get(server.make_url(path)) as response:
                return response.status, response.headers.get("ETag")

        asking = [asyncio.create_task(get("/api/v1/pools")) for _ in range(50)]
        await eventually(1, lambda: len(threads))
        for _ in range(10):
            assert 200 == (await get("/-/healthy"))[0]
        go.set()
        answers = await asyncio.gather(*asking)
    assert {200} == {status for status, _ in answers}
    assert len(threads) < 5
    assert all(name.startswith("scrape") for name in threads)
