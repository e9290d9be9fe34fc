"""The pages in a real browser: by keyboard, on a phone, in the dark, without JavaScript."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from werkzeug.serving import make_server

from serving.app import AppOptions, create_app
from serving.prediction_log.prediction_log import PredictionLog
from serving.server.worker_lock import claim
from tests.support.axe import axe_source, findings_on
from tests.support.key_pairs import write_key_pair
from tests.support.served_models import ODD, load_live_models
from tests.support.small_models import NAME
from updraft.registry.registry import open_registry

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
LOUD = {"error", "warning"}
PHONE = {"width": 360, "height": 740}
CASES = ["rent", "sms_spam", "species", NAME]
MODEL = f"/models/{NAME}"
PATHS = ["/", "/docs", "/train", "/stats", "/nowhere", MODEL, f"{MODEL}/predictions?id=1", f"{MODEL}/compare?a=1&b=1"]
PATHS += [*(f"/{name}?example=1" for name in CASES)]
CONTRAST = """() => {
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                       return .2126 * r + .7152 * g + .0722 * b };
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
                        if (c.length < 4 || c[3] > 0) return c } };
  const seen = [...document.querySelectorAll('h1, h2, p, a, label, input, select, textarea, button, td, th, code, li')];
  return seen.filter(e => e.checkVisibility()).map(e => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e).slice(0, 3))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), e.tagName, e.textContent.slice(0, 30)] }).sort((x, y) => x[0] - y[0])[0] }"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")


@pytest.fixture(scope="module")
def address(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the app, with a prediction log, on a free port."""
    folder = tmp_path_factory.mktemp("browsed")
    live_models = load_live_models(
        open_registry({**s3, **write_key_pair(folder), "UPDRAFT_REGISTRY": "s3://test-browser"}), folder
    )
    worker = claim(folder)
    log = PredictionLog(folder, worker)
    log.start()
    server = make_server("127.0.0.1", 0, create_app(live_models, AppOptions(prediction_log=log)), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    log.close()
    worker.lock.release()


@pytest.fixture(scope="module")
def browser(starts_servers: None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        it = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield it
        it.close()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Give a maker of pages; at the end none has written to its console or asked another host."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_page(**settings: Any) -> Page:
        context = browser.new_context(base_url=address, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type in LOUD else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: _own(request.url, address, problems))
        return page

    yield open_page
    for context in contexts:
        context.close()
    by_design = "Failed to load resource: the server responded with a status of 4"  # the page itself: 404 or 422
    assert [each for each in problems if not each.startswith(by_design)] == []


def _own(url: str, address: str, problems: list[str]) -> None:
    if not url.startswith((f"{address}/", "data:")):
        problems.append(f"asked {url}")


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until an element has the focus, which has to be visible on the way."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if focused(page).evaluate("(here, wanted) => here === wanted", wanted.element_handle()):
            outline = wanted.evaluate("e => getComputedStyle(e).outlineStyle + getComputedStyle(e).outlineWidth")
            assert outline == "solid3px"
            return
    raise AssertionError(f"Tab does not reach {wanted}")


def test_from_the_list_to_a_prediction_by_keyboard_alone(opened: Callable[..., Page]) -> None:
    page = opened()
    page.goto("/")
    page.keyboard.press("Tab")
    expect(focused(page)).to_have_text("Skip to the content")
    assert (focused(page).bounding_box() or {})["y"] >= 0
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    tab_to(page, page.get_by_role("link", name="Try it with species"))
    page.keyboard.press("Enter")
    expect(page).to_have_title("Which species of iris is it? · Updraft")
    tab_to(page, page.get_by_role("link", name="Fill in an example"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("length")).to_have_value("5.5")
    tab_to(page, page.get_by_label("habitat"))
    page.keyboard.press("Control+A")
    page.keyboard.type("forest")
    page.keyboard.press("Enter")

    expect(page.locator("#outcome")).to_have_text("Versicolor")
    expect(page.locator("section.outcome")).to_be_focused()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_label("habitat")).to_have_value("forest")


def test_an_error_stands_beside_its_field_and_the_summary_leads_to_it(opened: Callable[..., Page]) -> None:
    page = opened()
    page.goto("/rent?example=1")
    page.get_by_label("rooms").fill("99")
    page.get_by_role("button", name="Predict").click()
    alert = page.get_by_role("alert")
    expect(alert).to_be_focused()
    expect(alert).to_contain_text("rooms: 99 is not between 1 and 12")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    field = page.get_by_label("rooms")
    expect(field).to_be_focused()
    expect(field).to_have_value("99")
    expect(field).to_have_accessible_description("whole number, 1 to 12 99 is not between 1 and 12")
    expect(field).to_have_attribute("aria-invalid", "true")
    gap = "e => document.getElementById(e.id + '-error').getBoundingClientRect().top - e.getBoundingClientRect().bottom"
    assert 0 < field.evaluate(gap) < 60
    assert page.locator("[aria-invalid]").count() == 1
    expect(page.get_by_label(ODD)).to_have_value("a & b")
    expect(page.get_by_label("note")).to_have_value('it\'s "quiet"\nand <i>bright</i> 🌞')

    field.fill("3")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_be_visible()


def test_a_form_works_without_javascript(opened: Callable[..., Page]) -> None:
    page = opened(java_script_enabled=False)
    page.goto("/sms_spam")
    page.get_by_role("link", name="Fill in an example").click()
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_have_text("spam")
    expect(page.get_by_role("img", name="threshold 62.0 %")).to_be_visible()


def fits(page: Page, path: str, width: int) -> None:
    found = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert found == [width, width], path


@pytest.mark.parametrize("path", PATHS)
def test_nothing_overflows_on_a_phone(path: str, opened: Callable[..., Page]) -> None:
    page = opened(viewport=PHONE, is_mobile=True, has_touch=True)
    page.goto(path)
    fits(page, path, PHONE["width"])
    small = "es => es.map(e => [e.textContent, e.getBoundingClientRect().height]).filter(([, h]) => h < 44)"
    touched = "button, .button, header a, .actions a, input:not([type=hidden]), select, textarea, summary"
    assert page.eval_on_selector_all(touched, small) == []
    if "example" in path:
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#outcome")).to_be_visible()
        page.locator("summary").click()
        fits(page, f"{path}, answered", PHONE["width"])
        page.goto(path.partition("?")[0])
        page.get_by_role("button", name="Predict").click()
        expect(page.get_by_role("alert")).to_be_visible()
        fits(page, f"{path}, refused", PHONE["width"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(scheme: str, opened: Callable[..., Page]) -> None:
    """WCAG asks for a contrast of 4.5."""
    page = opened(color_scheme=scheme)
    for path in PATHS:
        page.goto(path)
        least = page.evaluate(CONTRAST)
        assert least[0] >= 4.5, (path, least)
    page.goto(f"/{NAME}")
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.wait_for_load_state()
    assert page.evaluate(CONTRAST)[0] >= 4.5
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(246, 247, 246)"
    assert dark == (scheme == "dark")


def test_an_answer_prints_without_what_is_for_the_screen(opened: Callable[..., Page], tmp_path: Path) -> None:
    page = opened()
    page.goto(f"/{NAME}?example=1")
    page.get_by_role("button", name="Predict").click()
    page.emulate_media(media="print")
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.get_by_role("button", name="Predict")).to_be_hidden()
    expect(page.locator("header nav")).to_be_hidden()
    page.pdf(path=tmp_path / "answer.pdf")
    assert (tmp_path / "answer.pdf").read_bytes().startswith(b"%PDF")


def test_a_chosen_file_is_predicted_and_downloaded(opened: Callable[..., Page], tmp_path: Path) -> None:
    page = opened()
    page.goto(f"/{NAME}?example=1")
    names = [field.get_attribute("name") for field in page.locator("form").first.locator("input, select").all()]
    values = [field.input_value() for field in page.locator("form").first.locator("input, select").all()]
    rows = tmp_path / "rows.csv"
    header = ",".join(f"{name}".removeprefix("value of ") for name in names)
    rows.write_text(f"{header}\n{','.join(values)}\n{','.join(values)}\n")
    page.get_by_label("A file of rows").set_input_files(rows)
    with page.expect_download() as download:
        page.get_by_role("button", name="Upload the file").click()
    assert download.value.suggested_filename == f"{NAME}-predictions.csv"
    download.value.save_as(tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


def test_axe_finds_nothing_serious(browser: Browser, address: str, peer_environments: Path) -> None:
    source = axe_source(peer_environments)
    pages = [*PATHS, *(f"/{name}?example=1&explain=true" for name in CASES)]
    assert list(findings_on(browser, source, [address + path for path in pages])) == []
    unnamed = "data:text/html,<html lang=en><title>x</title><main><h1>x</h1><input></main>"
    assert "label (critical)" in next(findings_on(browser, source, [unnamed]))
