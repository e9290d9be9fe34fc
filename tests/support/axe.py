"""axe-core, which looks for what keeps people from using a page: labels, contrast, names, roles, the keyboard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.support.peers import npm_modules

VERSION = "4.14.1"
SERIOUS = ("serious", "critical")
SIZES = ({"width": 1280, "height": 900}, {"width": 390, "height": 800})
RUN = "() => axe.run(document, {resultTypes: ['violations']})"


def axe_source(peers: Path) -> str:
    """Return axe-core's script, of npm, which is fetched once."""
    script = npm_modules(peers, "axe-core", VERSION) / "axe-core" / "axe.min.js"
    return script.read_text(encoding="utf-8")


def findings(page: Page, source: str) -> list[str]:
    """List what axe finds serious or critical on a page that is shown: the rule, and the elements."""
    page.evaluate(source)
    found: list[dict[str, Any]] = page.evaluate(RUN)["violations"]
    return [
        f"{page.url}: {each['id']} ({each['impact']}): {[node['html'][:200] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in SERIOUS
    ]


def findings_on(browser: Browser, source: str, urls: Iterable[str], cookies: Iterable[Any] = ()) -> Iterator[str]:
    """Look at pages in two widths, light and dark."""
    urls = list(urls)
    for size, scheme in product(SIZES, ("light", "dark")):
        context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        context.add_cookies([*cookies])
        page = context.new_page()
        for url in urls:
            page.goto(url)
            yield from (f"{size['width']} {scheme} {each}" for each in findings(page, source))
        context.close()
