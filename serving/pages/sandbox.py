"""Pages that a run has made: model cards, reports of the monitor. They are shown as documents that can do nothing."""

from __future__ import annotations

import re
from html import escape

from flask import Response, url_for

# Such a page has its pictures and its style inside, and nothing else: an origin of its own, no script, no form.
POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
BODY = b"<body>"
PERSON = re.compile(rb"<tr class=person>.*?</tr>\n?")  # of a model card: who started the run


def page(content: bytes, use_case: str) -> Response:
    """Return a page that a run has made, in a sandbox, with a link to the page of its model.

    Who started the run is left out, as on the service's other pages, which may be open.
    """
    url = url_for("pages.model", use_case=use_case)
    link = f'<nav><a href="{escape(url)}">All versions of {escape(use_case)}</a></nav>'
    linked = PERSON.sub(b"", content).replace(BODY, BODY + link.encode(), 1)
    return Response(linked, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})
