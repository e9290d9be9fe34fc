"""axe-core, which looks for what keeps people from using a page: labels, contrast, names, roles, the keyboard."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

VERSION = "4.14.1"
SERIOUS = ("serious", "critical")
SIZES = ({"width": 1280, "height": 900}, {"width": 390, "height": 800})
RUN = "() => axe.run(document, {resultTypes: ['violations']})"


def axe_source(peers: Path) -> str:
    """Return axe-core's script, of npm, which is fetched once."""
    folder = peers / f"axe-core-{VERSION}"
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    folder.mkdir(parents=True, exist_ok=True)
    with (peers / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not script.is_file():
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder]
            subprocess.run([*command, f"axe-core@{VERSION}"], check=True, timeout=300)
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
