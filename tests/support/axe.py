"""axe-core, which looks for what keeps people from using a page: labels, contrast, names, roles, the keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

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
    for looks, context in _contexts(browser):
        context.add_cookies([*cookies])
        page = context.new_page()
        for url in urls:
            page.goto(url)
            yield from (f"{looks} {each}" for each in findings(page, source))


def findings_in(peers: Path, documents: Mapping[str, str]) -> list[str]:
    """Look at pages by their contents: a page in a sandbox runs no script, and so not axe either."""
    source = axe_source(peers)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        return [
            f"{looks} {name} {each}"
            for looks, context in _contexts(browser)
            for name, content in documents.items()
            for each in _findings_in(context, content, source)
        ]


def _findings_in(context: BrowserContext, content: str, source: str) -> list[str]:
    page = context.new_page()
    page.set_content(content)
    return findings(page, source)


def _contexts(browser: Browser) -> Iterator[tuple[str, BrowserContext]]:
    for size, scheme in product(SIZES, ("light", "dark")):
        context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        yield f"{size['width']} {scheme}", context
        context.close()
