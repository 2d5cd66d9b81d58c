"""
Django: has each request be an operation.

    MIDDLEWARE = ["poolscope.django.Middleware", ...]
"""

from __future__ import annotations

from poolscope.applications.django import Middleware

__all__ = ["Middleware"]
