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
from poolscope.exporter.json_text import json_text
from poolscope.exporter.probes import Probes
from poolscope.fleet.fleet import Fleet
from support.waiting import PATIENCE, eventually

TestServer.__test__ = False

POOLS: dict[str, Any] = {"version": "1", "pools": [{"pool": "a"}, {"pool": "é"}], "servers": []}


class TestText:
    @pytest.mark.parametrize(
        "document", [POOLS, {"pools": []}, {"pools": [{}]}, {"x": 1, "pools": []}]
    )
    def test_is_the_document(self, document: dict[str, Any]) -> None:
        text = json_text(document)
        assert document == json.loads(text.text)
        assert text.text == gzip.decompress(text.compressed)

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
        text = json_text(POOLS)
        answer = text.answer(request)
        assert compressed == (answer.headers.get("Content-Encoding") == "gzip")
        assert (text.compressed if compressed else text.text) == answer.body
        assert "Accept-Encoding" == answer.headers["Vary"]

    def test_is_not_sent_to_who_has_it(self) -> None:
        text = json_text(POOLS)
        statuses = [
            text.answer(make_mocked_request("GET", "/", headers={"If-None-Match": tag})).status
            for tag in (text.tag, f'"other", W/{text.tag}', '"other"', "", "nonsense")
        ]
        assert [304, 304, 200, 200, 200] == statuses
        assert text.tag != json_text({"pools": []}).tag


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
    assert all(name.startswith("poolscope") for name in threads)
