"""What clients send as their Accept header, and the content type that they must get."""

from __future__ import annotations

from typing import Final

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
TEXT_1: Final = "text/plain; version=1.0.0; charset=utf-8"
OPEN: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OPEN_UTF_8: Final = f"{OPEN}; escaping=allow-utf-8"

PROTOBUF: Final = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

ACCEPT: Final = {
    # Prometheus 2.42, and with native histograms.
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1": OPEN,
    f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,"
    "*/*;q=0.1": OPEN,
    # Prometheus 2.55 and later.
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2": OPEN,
    # Prometheus 3, with its default protocols, with native histograms, and with legacy names.
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,"
    "*/*;q=0.2": OPEN_UTF_8,
    f"{PROTOBUF};escaping=allow-utf-8;q=0.7,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,"
    "*/*;q=0.2": OPEN_UTF_8,
    "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,"
    "text/plain;version=0.0.4;escaping=underscores;q=0.4,*/*;q=0.2": (
        f"{OPEN}; escaping=underscores"
    ),
    "application/openmetrics-text;version=1.0.0;escaping=values;q=0.5,*/*;q=0.2": (
        f"{OPEN}; escaping=values"
    ),
    "application/openmetrics-text;version=1.0.0;escaping=dots;q=0.5,*/*;q=0.2": (
        f"{OPEN}; escaping=underscores"
    ),
    # Prometheus 3 with scrape_protocols of one or two text formats.
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,"
    "*/*;q=0.2": f"{TEXT_1}; escaping=allow-utf-8",
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2": PLAIN,
    # A scraper that prefers OpenMetrics 2.0.0, which there is not.
    "application/openmetrics-text;version=2.0.0;q=0.9,application/openmetrics-text;version=1.0.0;"
    "q=0.6,text/plain;version=0.0.4;q=0.3": OPEN,
    "application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4;q=0.3": PLAIN,
    "application/openmetrics-text;version=2.0.0": PLAIN,
    "application/openmetrics-text;version=0.0.1": PLAIN,
    f"{PROTOBUF};q=0.7": PLAIN,
    # VictoriaMetrics and vmagent, and variants. Grafana Alloy and the collector of OpenTelemetry
    # have the scraper of Prometheus in them.
    "text/plain;version=0.0.4;q=1,*/*;q=0.1": PLAIN,
    "text/plain; version=0.0.4; q=1": PLAIN,
    "application/openmetrics-text; version=1.0.0, text/plain;version=0.0.4;q=0.5": OPEN,
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
    "q=0.7,text/plain;version=0.0.4;q=0.3": PLAIN,
    "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1": PLAIN,
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.9": PLAIN,
    # curl, Python's requests and Go; browsers; Java's HttpURLConnection; nothing.
    "*/*": PLAIN,
    "": PLAIN,
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8": PLAIN,
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;"
    "q=0.8,application/signed-exchange;v=b3;q=0.7": PLAIN,
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2": PLAIN,
    "application/json": PLAIN,
    "text/*": PLAIN,
    "application/*": PLAIN,
    # Weights, order and names of one sort or another.
    "text/plain": PLAIN,
    "text/plain;version=1.0.0": TEXT_1,
    "application/openmetrics-text": OPEN,
    "APPLICATION/OpenMetrics-Text; VERSION=1.0.0": OPEN,
    "application/openmetrics-text,text/plain": OPEN,
    "text/plain,application/openmetrics-text": PLAIN,
    "text/plain;q=0.5,application/openmetrics-text;q=0.6": OPEN,
    "application/openmetrics-text;q=0.5,text/plain;q=0.6": PLAIN,
    "application/openmetrics-text;q=0": PLAIN,
    "application/openmetrics-text;q=0.000,*/*": PLAIN,
    "application/openmetrics-text;q=0,text/plain;q=0": PLAIN,
    "text/plain;q=0,application/openmetrics-text;q=0.1": OPEN,
    "text/plain;q=0,*/*;q=0.1": OPEN,
    "text/plain;q=0,text/plain;version=0.0.4": PLAIN,
    "*/*;q=0.9,application/openmetrics-text;q=0.5": PLAIN,
    "application/openmetrics-text ; version = 1.0.0 ; q = 0.9 , text/plain ; q = 0.1": OPEN,
    # Quotes.
    'application/openmetrics-text;version="1.0.0"': OPEN,
    'application/openmetrics-text;version="1.0.0";q="0.5"': OPEN,
    'application/openmetrics-text;version="1.\\0.0"': OPEN,
    'application/openmetrics-text;title="a,b;q=0";version="1.0.0"': OPEN,
    'text/html;title="application/openmetrics-text,",*/*': PLAIN,
    'application/openmetrics-text;version="1.0.0': PLAIN,
    # Nonsense.
    "text/plain;version=1.0-beta": PLAIN,
    "text/plain;version=latest": PLAIN,
    "application/openmetrics-text;version=latest": PLAIN,
    "application/openmetrics-text;version=": OPEN,
    "application/openmetrics-text;version": OPEN,
    "application/openmetrics-text;version=1.0.0;q=nonsense": PLAIN,
    "application/openmetrics-text;q=-1": PLAIN,
    "application/openmetrics-text;q=1.5": PLAIN,
    "application/openmetrics-text;q=nan": PLAIN,
    "application/openmetrics-text;q=": PLAIN,
    "application/openmetrics-text/1.0.0": PLAIN,
    "application/openmetrics-textual": PLAIN,
    ";;;,,,===,": PLAIN,
    '"': PLAIN,
    "q=1": PLAIN,
    "\xff\xfe": PLAIN,
}
