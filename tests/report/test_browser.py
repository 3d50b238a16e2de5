"""The tracked page in a headless Chromium: `make setup-browser` brings it, and without it these tests are skipped."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from layers import solve_qp
from tools.report import pieces
from tools.scores import ROOT

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing: make setup-browser")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None, reason="chromium or chromedriver is missing: make setup-browser"
    ),
]
PAGE = ROOT / "docs" / "report" / "index.html"
FLAGS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
    *(
        "disable-background-networking",
        "disable-component-update",
        "hide-scrollbars",
        "window-size=1280,1000",
    ),
)
WIDTHS = (360, 768, 1280)
# What sticks out to the right of the screen, except inside a box that scrolls by itself.
STICKS_OUT = """
const wide = [];
for (const element of document.querySelectorAll("body *")) {
  const box = element.getBoundingClientRect();
  if (box.width === 0 || box.right <= innerWidth + 0.5) continue;
  let around = element.parentElement, hidden = false;
  for (; around; around = around.parentElement) {
    const fits = around.getBoundingClientRect().right <= innerWidth + 0.5;
    const scrolls = ["auto", "scroll", "hidden"].includes(getComputedStyle(around).overflowX);
    hidden ||= fits && (scrolls || around.tagName === "svg");
  }
  if (!hidden) wide.push(`${element.tagName}.${element.className} ${box.right}`);
}
return [document.documentElement.scrollWidth, innerWidth, wide.slice(0, 5)];
"""
VISIBLE = """
const rows = [...document.querySelectorAll("tr.claim")];
return rows.filter(row => row.getClientRects().length).map(row => row.dataset.verdict);
"""
# The colour of each kind of text, then what it stands on, from near to far.
COLOURS = """
const found = {}, texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  let box = texts.currentNode.parentElement;
  const name = `${box.tagName}.${box.className} in ${box.parentElement.className}`;
  const seen = texts.currentNode.textContent.trim() && box.getClientRects().length && !box.closest("svg, script");
  if (!seen || found[name]) continue;
  found[name] = [getComputedStyle(box).color];
  for (; box; box = box.parentElement) found[name].push(getComputedStyle(box).backgroundColor);
}
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any) -> Any:
    """Return the page, loaded anew at the width of a desk."""
    resize(browser, 1280)
    look(browser, "light")
    browser.get(PAGE.as_uri())
    return browser


def resize(browser: Any, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def look(browser: Any, scheme: str) -> None:
    # Without motion the page stands where it was scrolled to at once, so that a click meets what it means.
    wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wanted.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def errors(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_the_console_is_silent(page: Any):
    page.execute_script("document.querySelector('[data-place=kink]').click()")
    assert errors(page) == []


def test_nothing_comes_from_a_network(page: Any):
    page.get_log("performance")  # what was asked for before, by the browser's own first page too
    page.refresh()
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert len(set(asked)) > len(list((ROOT / "figures").rglob("*.png")))
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def test_a_console_error_would_be_seen(page: Any):
    page.execute_script("setTimeout(() => { throw new Error('planted'); }, 0)")
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert any("planted" in message for message in errors(page))


def test_every_figure_is_visible(page: Any):
    page.execute_script("document.querySelectorAll('details').forEach(box => { box.open = true; })")
    broken = page.execute_script(
        "return Promise.all([...document.images].map(image => image.decode().then(() => image.clientWidth, () => 0)))"
        ".then(widths => [widths.length, [...document.images].filter((_, i) => widths[i] < 200).map(i => i.src)])"
    )
    assert broken == [len(list((ROOT / "figures").rglob("*.png"))), []]


def test_every_anchor_resolves(page: Any):
    links = "[...document.querySelectorAll('a[href^=\"#\"]')].map(link => link.hash.slice(1))"
    lost = page.execute_script(f"return {links}.filter(name => !document.getElementById(name))")
    assert lost == []
    assert page.execute_script(f"return {links}.length") > 20


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("opened", [False, True])
def test_nothing_is_wider_than_the_screen(page: Any, width: int, opened: bool):
    resize(page, width)
    page.execute_script(
        f"document.querySelectorAll('details').forEach(box => {{ box.open ||= {str(opened).lower()}; }})"
    )
    across, screen, wide = page.execute_script(STICKS_OUT)
    assert wide == []
    assert across <= screen == width


def test_what_sticks_out_would_be_seen(page: Any):
    page.execute_script("document.querySelector('main p').style.minWidth = '3000px'")
    assert page.execute_script(STICKS_OUT)[2] != []


def test_the_layer_in_the_hands_answers_what_the_layer_answers(page: Any, rng: np.random.Generator):
    Q, G = (torch.tensor(matrix, dtype=torch.float64) for matrix in (pieces.Q, pieces.G))
    q = torch.tensor(rng.uniform(-3, 3, (200, 2)))
    h = torch.tensor(rng.uniform(*pieces.LIMITS["h"], (200, 4)))
    found = page.execute_script(
        "return arguments[0].map((q, i) => window.layerInHands.answer(q, arguments[1][i]))",
        q.tolist(),
        h.tolist(),
    )
    solved = solve_qp(Q, q, G, h)
    for name, ours in (("z", solved.z), ("lam", solved.lam)):
        shown = torch.tensor([answer[name] for answer in found], dtype=torch.float64)
        assert torch.allclose(shown, ours, rtol=0, atol=1e-8)


def test_the_picture_follows_a_drag_and_says_what_the_layer_says(page: Any):
    """The cost is dragged by the mouse; the numbers beside the picture are the layer's for where it lands."""
    handle = page.find_element("css selector", "[data-handle=cost]")
    before = page.find_element("id", "optimum").text
    actions = webdriver.ActionChains(page)
    actions.move_to_element(handle).click_and_hold().move_by_offset(-60, -40).release().perform()
    box = page.execute_script(
        "const b = document.querySelector('#hands svg').getBoundingClientRect(); return b.width"
    )
    unit, start = 5.2 / box, pieces.START
    cost = torch.tensor([start["cost"][0] - 60 * unit, start["cost"][1] + 40 * unit], dtype=torch.float64)
    Q, G = (torch.tensor(matrix, dtype=torch.float64) for matrix in (pieces.Q, pieces.G))
    z = solve_qp(Q, -Q @ cost, G, torch.tensor(start["h"], dtype=torch.float64)).z.tolist()
    said = page.find_element("id", "optimum").text.replace("−", "-")
    shown = [float(word) for word in said.split("(")[1].split(")")[0].split(",")]
    assert said != before
    assert shown == pytest.approx(z, abs=0.02)


def test_a_finger_drags_a_handle_and_not_the_page(page: Any):
    resize(page, 360)
    page.execute_script("document.querySelector('#hands svg').scrollIntoView({block: 'center'})")
    middle = "const b = document.querySelector('[data-handle=cost]').getBoundingClientRect();"
    x, y, before = page.execute_script(f"{middle} return [b.x + b.width / 2, b.y + b.height / 2, scrollY]")
    said = page.find_element("id", "optimum").text
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        *(("touchMove", [{"x": x - 6 * step, "y": y - 12 * step}]) for step in range(1, 8)),
        ("touchEnd", []),
    ):
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert page.find_element("id", "optimum").text != said
    assert page.execute_script("return scrollY") == before


def test_the_kink_shows_both_derivatives_and_the_layer_s(page: Any):
    page.find_element("css selector", "[data-place=kink]").click()
    box = page.find_element("id", "kink")
    assert "A kink" in box.text
    assert len(box.find_elements("tag name", "math")) == 3
    page.find_element("css selector", "[data-place=free]").click()
    assert box.find_elements("tag name", "math") == []


def test_a_handle_moves_by_the_keyboard(page: Any):
    before = page.find_element("css selector", "[data-handle=row0]").get_attribute("aria-valuetext")
    page.find_element("css selector", "[data-handle=row0]").send_keys(webdriver.Keys.ARROW_RIGHT)
    assert page.find_element("css selector", "[data-handle=row0]").get_attribute("aria-valuetext") != before


def test_the_filter_shows_the_claims_that_it_counts(page: Any):
    search = page.find_element("id", "search")
    search.send_keys("sudoku wrong")
    visible = page.execute_script(VISIBLE)
    count, total = (int(word) for word in page.find_element("id", "found").text.split(" ")[:3:2])
    assert 0 < len(visible) == count < total
    search.clear()
    search.send_keys("x")
    search.send_keys(webdriver.Keys.BACKSPACE)
    assert page.find_element("id", "found").text == f"{total} rows"
    page.find_element("css selector", ".chip.better").click()
    assert set(page.execute_script(VISIBLE)) == {"better"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_from_its_ground(page: Any, scheme: str):
    """The contrast that WCAG asks of small text, 4.5, for whatever stands on the page."""
    look(page, scheme)
    page.execute_script("document.querySelectorAll('details').forEach(box => { box.open = true; })")
    pairs = page.execute_script(COLOURS)
    assert len(pairs) > 10
    faint = {}
    for name, (text, *grounds) in pairs.items():
        ground = (1.0, 1.0, 1.0)
        for layer in reversed(grounds):
            ground = over(layer, ground)
        ink, paper = luminance(over(text, ground)), luminance(ground)
        ratio = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        if ratio < 4.5:
            faint[name] = ratio
    assert faint == {}


def test_light_and_dark_differ(page: Any):
    ground = "return getComputedStyle(document.body).backgroundColor"
    found = {}
    for scheme in ("light", "dark"):
        look(page, scheme)
        found[scheme] = luminance(over(page.execute_script(ground), (0, 0, 0)))
    assert found["light"] > 0.8 > 0.1 > found["dark"]


def over(colour: str, ground: tuple[float, ...]) -> tuple[float, ...]:
    """Return `rgb(...)`, `rgba(...)` or `color(srgb ...)` as shares of red, green and blue on a ground."""
    scale = 255 if colour.startswith("rgb") else 1
    *shares, alpha = ([float(part) for part in re.findall(r"[\d.]+", colour)] + [1.0])[:4]
    return tuple(
        alpha * share / scale + (1 - alpha) * below for share, below in zip(shares, ground, strict=True)
    )


def luminance(shares: tuple[float, ...]) -> float:
    """Return the relative luminance of WCAG."""
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_on_paper_everything_is_open(page: Any, tmp_path: Path):
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    (tmp_path / "page.pdf").write_bytes(base64.b64decode(printed["data"]))
    assert (tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n") > 10
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
