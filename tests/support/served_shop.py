"""The shop as WSGI, each of whose processes serves metrics at the port in METRICS_PORT."""

from __future__ import annotations

import os

import poolscope
from support.shop import Shop

app = Shop()
server, _ = poolscope.start_http_server(int(os.environ["METRICS_PORT"]))
