"""Take the pictures of README and docs from the running demo: `make demo`, then `make pictures`.

Needs chromium. Each picture is a PNG of 256 colours, below 120 kB, in `docs/pictures/`.
"""

from __future__ import annotations

import io
import math
import os
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from updraft.local_stack.credentials import ADMIN, credentials
from updraft.local_stack.stack import Stack

FOLDER = Path(__file__).parent / "pictures"
USE_CASE = "vehicle_insurance"
LARGEST = 120_000  # bytes
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main() -> None:
    """Take the pictures of the model card, the service and Airflow."""
    stack = Stack()
    settings = stack.settings()
    if not stack.running():
        raise SystemExit("the stack is not running: `make demo` first")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("no chromium, chromium-browser or google-chrome on PATH")
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = _page(browser, 1000, 1110)
        card = _newest_card(stack)
        page.goto(card.as_uri())
        _save(page, "model-card")
        _take_service(_page(browser, 1000, 960), settings["SERVING_URL"])
        page = _page(browser, 1280, 640)
        _log_in(page, settings["AIRFLOW_URL"], credentials(stack.home / "secrets")["airflow_admin_password"])
        page.goto(f"{settings['AIRFLOW_URL']}/dags/train_{USE_CASE}/runs/{card.parents[1].name}")
        page.get_by_role("button", name="Show Graph").click()
        page.wait_for_timeout(5000)  # the graph is laid out and drawn after the page has loaded
        _save(page, "dag")
        page.goto(f"{settings['AIRFLOW_URL']}/plugin/models")
        page.set_viewport_size({"width": 1280, "height": 780})
        page.frame_locator("iframe").get_by_role("link", name=USE_CASE).wait_for()
        _save(page, "models")


def _take_service(page: Page, url: str) -> None:
    page.goto(f"{url}/{USE_CASE}?example=1")
    page.get_by_role("button", name="Predict").click()
    answer, form = page.locator("section.outcome"), page.locator("form.ask").first
    answer.wait_for()  # it takes the focus, and the page scrolls to it
    page.evaluate("window.scrollTo(0, 0)")
    end = page.evaluate("form => form.getBoundingClientRect().bottom", form.element_handle())
    page.set_viewport_size({"width": 1000, "height": math.ceil(end) + 20})
    _save(page, "form")
    page.goto(f"{url}/models/{USE_CASE}")
    page.set_viewport_size({"width": 1000, "height": 960})
    _save(page, "model")


def _page(browser: Browser, width: int, height: int) -> Page:
    looks: Any = {"color_scheme": "light", "reduced_motion": "reduce"}  # nothing scrolls or moves for a while
    return browser.new_context(viewport={"width": width, "height": height}, **looks).new_page()


def _newest_card(stack: Stack) -> Path:
    folder = Path(os.environ.get("UPDRAFT_ARTIFACTS") or stack.home / "artifacts")
    return max(folder.glob(f"{USE_CASE}/*/evaluate/card.html"), key=lambda path: path.stat().st_mtime)


def _log_in(page: Page, url: str, password: str) -> None:
    page.goto(url)
    page.get_by_label("Username").fill(ADMIN)
    page.get_by_label("Password").first.fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Dags").first.wait_for()  # it loads once more on its way there


def _save(page: Page, name: str) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    path = FOLDER / f"{name}.png"
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path}: {path.stat().st_size:,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main()
