"""Which format and compression a client gets, by the headers that real clients and others send."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.openmetrics import parser
from prometheus_client.registry import Collector

from poolscope.metrics.negotiation import accepts_gzip, choose_format
from poolscope.metrics.rendering import rendered, wanted
from support.accept_headers import ACCEPT, OPEN, PLAIN

ENCODINGS: Final = {
    "": False,
    "gzip": True,
    "GZIP": True,
    "x-gzip": True,
    "gzip, deflate, br": True,
    "gzip, deflate, br, zstd": True,
    "br;q=1.0, gzip;q=0.8, *;q=0.1": True,
    "*": True,
    "*;q=0.5, identity": False,
    "*;q=0": False,
    "br, *;q=0": False,
    "gzip, *;q=0": True,
    "gzip;q=0": False,
    "gzip;q=0.0": False,
    "gzip;q=0.000, identity": False,
    "gzip; q = 0": False,
    "x-gzip;q=0": False,
    "gzip;q=0, *": False,
    "identity;q=0": False,
    "identity;q=0, gzip;q=0.1": True,
    "identity": False,
    "identity, gzip;q=0.5": False,
    "gzip;q=0.001": True,
    "deflate": False,
    "gzipped": False,
    "not-gzip": False,
    "gzip;q=nonsense": False,
    "gzip;q=-1": False,
    "gzip;q=2": False,
    "gzip;level=9": True,
    '"gzip"': False,
    ",,,;;;": False,
}


@pytest.mark.parametrize("accept", ACCEPT)
def test_the_format_that_a_client_gets(accept: str) -> None:
    assert ACCEPT[accept] == choose_format(accept).content_type


@pytest.mark.parametrize("accept_encoding", ENCODINGS)
def test_whether_a_client_gets_gzip(accept_encoding: str) -> None:
    assert ENCODINGS[accept_encoding] is accepts_gzip(accept_encoding)


parse: Any = parser.text_string_to_metric_families  # it has no type annotations

SERVED: Final = re.compile(
    r"text/plain; version=0\.0\.4; charset=utf-8"
    r"|(text/plain|application/openmetrics-text); version=1\.0\.0; charset=utf-8"
    r"(; escaping=(allow-utf-8|underscores|values))?"
)

WORDS: Final = (
    *("text", "plain", "application", "openmetrics-text", "*", "/", ",", ";", "=", '"', "\\", " "),
    *("q", "version", "escaping", "charset", "0.0.4", "1.0.0", "2.0.0", "1.0-beta", "latest"),
    *("0", "1", ".", "nan", "inf", "-1", "1e3", "utf-8", "allow-utf-8", "values", "dots", "\t"),
    *("text/plain", "application/openmetrics-text", "version=1.0.0", "q=0.5", "gzip", "identity"),
)

HEADERS: Final = st.lists(st.sampled_from(WORDS) | st.text(max_size=3)).map("".join) | st.text()


@given(HEADERS, HEADERS, HEADERS)
@example("text/plain;version=1.0-beta", "gzip;q=", "name[]=%")
@example('application/openmetrics-text;version="', '"', "&&name[]=%ff%00&=;")
def test_nothing_that_a_client_sends_is_an_error(accept: str, encoding: str, query: str) -> None:
    asked = wanted(accept, encoding, query)
    assert SERVED.fullmatch(asked.format.content_type)
    registry = CollectorRegistry()
    Gauge("answer", "Of the test", registry=registry).set(42)
    text = b"".join(rendered(registry, asked).parts)
    if asked.names is None and not asked.gzip:
        assert b"\nanswer 42.0\n" in text
        assert text.endswith(b"\n# EOF\n") == (OPEN.split(";")[0] in asked.format.content_type)


class Foreign(Collector):
    """Has names with colons, as recording rules have, and a name that is no legacy name."""

    def collect(self) -> list[Metric]:
        families = [Metric("shop:orders", "With colons", "gauge"), _with_dots()]
        families[0].add_sample("shop:orders", {"by_day": "monday"}, 1.0)
        return families


def _with_dots() -> Metric:
    # A name that versions of prometheus_client without UTF-8 refuse to construct.
    family = Metric("shop", "With dots", "gauge")
    family.name = "shop.stock"
    family.add_sample("shop.stock", {}, 2.0)
    return family


def test_an_escaping_changes_no_legacy_name_and_is_what_the_content_type_says() -> None:
    registry = CollectorRegistry()
    registry.register(Foreign())
    texts = {}
    for escaping in ("", "allow-utf-8", "underscores", "values", "dots", "nonsense"):
        parameter = f";escaping={escaping}" if escaping else ""
        for media_type in ("text/plain", "application/openmetrics-text"):
            asked = wanted(f"{media_type};version=1.0.0{parameter}", "", "")
            text = b"".join(rendered(registry, asked).parts).decode()
            assert 'shop:orders{by_day="monday"} 1.0\n' in text
            texts[escaping, media_type] = asked.format.escaping, text.split("\n")[-3:]
    if "shop_stock" in str(texts["", "text/plain"]):  # it knows names that are none
        assert {
            "": (None, "shop_stock 2.0"),
            "allow-utf-8": ("allow-utf-8", '{"shop.stock"} 2.0'),
            "underscores": ("underscores", "shop_stock 2.0"),
            "values": ("values", "U__shop_2e_stock 2.0"),
            "dots": ("underscores", "shop_stock 2.0"),
            "nonsense": ("underscores", "shop_stock 2.0"),
        } == {
            name: (said, lines[-2])
            for (name, media_type), (said, lines) in texts.items()
            if media_type == "text/plain"
        }


def test_open_metrics_is_what_its_parser_reads() -> None:
    registry = CollectorRegistry()
    Gauge("answer", "Of the test", ["by"], registry=registry).labels('"\\\n').set(42)
    for accept, content_type in ACCEPT.items():
        if content_type.startswith("application/openmetrics-text"):
            text = b"".join(rendered(registry, wanted(accept, "", "")).parts).decode()
            (family,) = parse(text)
            assert [42.0] == [sample.value for sample in family.samples]
    assert PLAIN in ACCEPT.values()
