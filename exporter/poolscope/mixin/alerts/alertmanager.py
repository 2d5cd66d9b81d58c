"""Alertmanager's configuration: which receiver gets an alert, and which alerts are inhibited."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.exporter import COVERAGE, EXPORTER_DOWN, NONE_LEFT, WATCHDOG
from poolscope.mixin.alerts.model import Json
from poolscope.mixin.alerts.options import Options

PAGE_RECEIVER: Final = "poolscope-page"
TICKET_RECEIVER: Final = "poolscope-ticket"
WATCHDOG_RECEIVER: Final = "poolscope-watchdog"
NO_RECEIVER: Final = "poolscope-nobody"

ALL_ALERTS: Final = 'alertname=~"ConnPool.+"'

FIRST_ANNOTATION: Final = "{{{{ with index .Alerts 0 }}}}{{{{ .Annotations.{} }}}}{{{{ end }}}}"
SUMMARY: Final = (
    FIRST_ANNOTATION.format("summary")
    + "{{ if gt (len .Alerts) 1 }} ({{ len .Alerts }} of them){{ end }}"
)
"""The first alert of a notice stands for the others, which may be about other pools."""

WATCHDOG_URL: Final = "http://localhost:8080/watchdog"
"""A placeholder: the URL of a service that raises an alarm when the watchdog stops."""


def document(options: Options) -> Json:
    """Return the configuration; receivers read their secrets from files."""
    return {
        "route": _route(options),
        "inhibit_rules": _inhibitions(options),
        "receivers": _receivers(options),
    }


def _route(options: Options) -> Json:
    """Return the routes; all pools of a service that have the same alert are in one notice."""
    return {
        "receiver": NO_RECEIVER,
        "group_by": ["alertname", *options.scope],
        "group_wait": options.group_wait,
        "group_interval": options.group_interval,
        "repeat_interval": options.repeat_page,
        "routes": [
            {
                "receiver": WATCHDOG_RECEIVER,
                "matchers": [f'alertname="{WATCHDOG}"'],
                "group_wait": "0s",
                "repeat_interval": options.group_interval,
            },
            {"receiver": PAGE_RECEIVER, "matchers": [ALL_ALERTS, 'severity="critical"']},
            {
                "receiver": TICKET_RECEIVER,
                "matchers": [ALL_ALERTS, 'severity="warning"'],
                "repeat_interval": options.repeat_ticket,
            },
            {"receiver": NO_RECEIVER, "matchers": [ALL_ALERTS, 'severity="info"']},
        ],
    }


def _inhibitions(options: Options) -> list[Json]:
    """
    Return which alerts inhibit which others.

    Alertmanager takes a label that is missing on both sides as equal: the matchers leave out alerts
    without a pool.
    """
    pools = ['pool=~".+"', ALL_ALERTS]
    same_pool = [*options.scope, "pool", "kind"]
    return [
        {
            "source_matchers": ['severity="critical"', *pools],
            "target_matchers": ['severity=~"warning|info"', *pools],
            "equal": same_pool,
        },
        {
            "source_matchers": ['severity="warning"', *pools],
            "target_matchers": ['severity="info"', *pools],
            "equal": same_pool,
        },
        {
            "source_matchers": [f'alertname="{EXPORTER_DOWN}"', f'{COVERAGE}="{NONE_LEFT}"'],
            "target_matchers": [ALL_ALERTS, f'alertname!~"{EXPORTER_DOWN}|{WATCHDOG}"'],
            "equal": list(options.scope),
        },
    ]


def _receivers(options: Options) -> list[Json]:
    if options.webhook:
        return [
            {"name": NO_RECEIVER},
            {"name": PAGE_RECEIVER, "webhook_configs": [_webhook(options, "page")]},
            {"name": TICKET_RECEIVER, "webhook_configs": [_webhook(options, "ticket")]},
            {"name": WATCHDOG_RECEIVER, "webhook_configs": [_webhook(options, "watchdog")]},
        ]
    pager = {
        "routing_key_file": f"{options.secrets}/pagerduty-routing-key",
        "description": SUMMARY,
        "client_url": FIRST_ANNOTATION.format("dashboard_url"),
    }
    chat = {
        "api_url_file": f"{options.secrets}/slack-url",
        "send_resolved": True,
        "title": "{{ .CommonLabels.alertname }}",
        "title_link": FIRST_ANNOTATION.format("dashboard_url"),
        "text": "{{ range .Alerts }}{{ .Annotations.description }}\n{{ end }}"
        "{{ with .CommonAnnotations.runbook_url }}<{{ . }}|What to do>{{ end }}",
    }
    watchdog = _authorized(options, WATCHDOG_URL)
    return [
        {"name": NO_RECEIVER},
        {"name": PAGE_RECEIVER, "pagerduty_configs": [pager]},
        {"name": TICKET_RECEIVER, "slack_configs": [chat]},
        {"name": WATCHDOG_RECEIVER, "webhook_configs": [{**watchdog, "send_resolved": False}]},
    ]


def _webhook(options: Options, path: str) -> Json:
    return _authorized(options, f"{options.webhook.rstrip('/')}/{path}")


def _authorized(options: Options, url: str) -> Json:
    token = f"{options.secrets}/webhook-token"
    return {"url": url, "http_config": {"authorization": {"credentials_file": token}}}
