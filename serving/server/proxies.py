"""Trusted proxies in front: what they report of a client's address, scheme and host, read by werkzeug's ProxyFix."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wsgi import get_host

from serving.server.wsgi_adapter import Application, call


def behind(proxies: int, app: Application) -> ProxyFix:
    """Return the app as `proxies` trusted proxies call it."""
    return ProxyFix(app, x_for=proxies, x_proto=proxies, x_host=proxies)


@lru_cache(maxsize=1024)
def reported_host(proxies: int, scheme: str, host: str, forwarded_host: str, forwarded_proto: str) -> str:
    """Return the host that the app sees, given these values of a request and its headers; empty if it is invalid."""

    def app(fixed: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [get_host(fixed).encode()]

    environ = {
        "wsgi.url_scheme": scheme,
        "HTTP_HOST": host,
        "HTTP_X_FORWARDED_HOST": forwarded_host,
        "HTTP_X_FORWARDED_PROTO": forwarded_proto,
    }
    return call(behind(proxies, app), environ)[2].decode()
