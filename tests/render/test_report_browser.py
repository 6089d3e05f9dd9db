"""The report in a real browser: opened, tabbed and clicked through, by day and by night."""

from __future__ import annotations

from itertools import pairwise

import pytest

from browser import CHROMIUM, browser
from convatlas.render.report import write_report
from finished_run import write_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

PHONE, DESK = (390, 844), (1280, 900)
_AA = 4.5  # WCAG 2.2, success criterion 1.4.3; taken for large letters too

# Every visible text with its colour, and all that may be painted behind it. Counts on the cells
# of the confusion matrix stand on no element; tests/render/test_palette.py has their contrast.
_TEXTS = r"""
(() => {
  const parse = (text) => (text.match(/rgba?\([^)]*\)/g) ?? []).map((colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  });
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
  function behind(element) {
    if (!element) return [[255, 255, 255]];
    const style = getComputedStyle(element);
    const under = behind(element.parentElement);
    const plain = parse(style.backgroundColor).flatMap((c) => under.map((u) => over(c, u)));
    const image = parse(style.backgroundImage).flatMap((c) => plain.map((u) => over(c, u)));
    return [...plain, ...image];
  }
  const luminance = (rgb) => rgb
    .map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  function contrast(one, other) {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.textContent.trim();
    if (!words || /^(script|style|noscript|title)$/i.test(element.tagName)) continue;
    if (element.closest(".heatmaplayer, .hm, .unseen") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [ink] = parse(element instanceof SVGElement ? style.fill : style.color);
    const grounds = behind(element.closest("svg")?.parentElement ?? element);
    const worst = Math.min(...grounds.map((ground) => contrast(over(ink, ground), ground)));
    found.push([words.slice(0, 40), Math.round(worst * 100) / 100]);
  }
  return found;
})()
"""
_LISTEN = """
window.visited = [];
addEventListener("focusin", ({ target }) => {
  const style = getComputedStyle(target);
  const box = target.getBoundingClientRect();
  visited.push({
    again: visited.some((each) => each.target === target),
    outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    seen: box.bottom > 0 && box.top < innerHeight && box.width > 0,
    what: target.outerHTML.slice(0, 80),
    target,
  });
})
"""
_REACHABLE = """
[...document.querySelectorAll("a[href], summary, [tabindex='0']")]
  .filter((element) => element.checkVisibility()).length
"""
_WIDER = """
(() => {
  const room = document.documentElement.clientWidth;
  const wide = [...document.body.querySelectorAll("*")].filter((element) =>
    element.getBoundingClientRect().right > room + 1 &&
    !element.parentElement.closest(".scroll, pre, .contents, svg"));
  const scrolled = document.documentElement.scrollWidth > room;
  return scrolled ? wide.map((element) => element.outerHTML.slice(0, 120)) : [];
})()
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    report = write_report(write_run(folder / "run"))
    with browser(folder / "profile") as tab:
        tab.resize(*DESK)
        tab.prefer("light")
        tab.open(report.as_uri())
        yield tab


@pytest.fixture
def desk(tab):
    """The page as it was when it was opened."""
    tab.resize(*DESK)
    tab.prefer("light")
    tab.run("document.querySelectorAll('details').forEach((each) => { each.open = false })")
    tab.run("document.activeElement.blur(); scrollTo(0, 0); history.replaceState(null, '', '#')")
    return tab


def _complaints(tab):
    """Return exceptions that nothing caught, and errors and warnings of the console."""
    told = [(event["method"], event["params"]) for event in tab.events]
    loud = ("error", "warning")
    return [
        params
        for method, params in told
        if method == "Runtime.exceptionThrown"
        or (method == "Runtime.consoleAPICalled" and params["type"] in loud)
        or (method == "Log.entryAdded" and params["entry"]["level"] in loud)
    ]


def _requests(tab):
    asked = [e["params"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
    return [each["request"]["url"] for each in asked]


def test_every_figure_is_drawn(desk):
    drawn, wanted = desk.run(
        "[document.querySelectorAll('.figure .main-svg:first-child').length,"
        " document.querySelectorAll('[data-figure]').length]"
    )
    assert drawn == wanted > 0


def test_the_first_screen_holds_every_answer(desk):
    lowest = "document.querySelector('.facts').getBoundingClientRect().bottom"
    assert desk.run(lowest) <= DESK[1]
    desk.resize(*PHONE)
    verdict = "document.querySelector('.fact.wide .value').getBoundingClientRect().bottom"
    assert desk.run(verdict) <= PHONE[1]


def test_every_link_of_the_contents_leads_to_its_heading(desk):
    links = "[...document.querySelectorAll('.contents a')]"
    count = desk.run(f"{links}.length")
    assert count == desk.run("document.querySelectorAll('section').length") + 1
    for place in range(count):
        hash_, top, words = desk.run(
            f"(() => {{ const link = {links}[{place}]; link.click();"
            " const goal = document.querySelector(link.hash);"
            " const box = goal.querySelector('h1, h2').getBoundingClientRect();"
            " return [location.hash === link.hash, box.top, link.textContent]; })()"
        )
        assert hash_, words
        assert 0 <= top < DESK[1], words


def test_a_keyboard_reaches_everything_and_shows_where_it_is(desk):
    desk.open()  # so that Tab begins at the top
    reachable = desk.run(_REACHABLE)
    desk.run(_LISTEN)
    for _ in range(reachable):
        desk.press("Tab")
    visited = desk.run("visited.map(({ target, ...rest }) => rest)")
    assert len(visited) == reachable
    for each in visited:
        assert not each["again"], each
        assert each["outline"] >= 2, each
        assert each["seen"], each


def test_every_fold_opens_by_keyboard(desk):
    folds = desk.run("document.querySelectorAll('details').length")
    assert folds >= 5
    for place in range(folds):
        desk.run(f"document.querySelectorAll('summary')[{place}].focus()")
        desk.press("Enter")
    assert desk.run("document.querySelectorAll('details[open]').length") == folds
    heights = "[...document.querySelectorAll('details table')].map((each) => each.offsetHeight)"
    assert all(height > 0 for height in desk.run(heights))


@pytest.mark.parametrize("width", [320, PHONE[0], 768, DESK[0]])
def test_the_page_never_scrolls_sideways(desk, width):
    desk.run("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    desk.resize(width, PHONE[1])
    desk.settle(f"document.documentElement.scrollWidth <= {width}")
    assert desk.run(_WIDER) == []
    assert desk.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_from_what_is_behind_it(desk, scheme):
    desk.prefer(scheme)
    desk.run("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    desk.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    texts = desk.run(_TEXTS)
    assert len(texts) > 200
    assert [text for text in texts if text[1] < _AA] == []


def test_a_screen_reader_finds_landmarks_headings_names_and_captions(desk):
    desk.run("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    nodes = [n for n in desk.send("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]

    def of(*roles):
        return [node for node in nodes if node.get("role", {}).get("value") in roles]

    def named(node):
        return node.get("name", {}).get("value", "").strip()

    assert len(of("main")) == 1
    assert [named(node) for node in of("navigation")] == ["Contents"]
    sections = desk.run("document.querySelectorAll('section').length")
    assert len({named(node) for node in of("region")}) == sections
    for role in ("image", "table", "link", "heading", "region"):
        assert of(role), role
        assert [node for node in of(role) if not named(node)] == []
    assert len(of("image")) == desk.run(
        "document.querySelectorAll('img, [role=img], svg[aria-label]').length"
    )
    levels = [p["value"]["value"] for n in of("heading") for p in n["properties"]
              if p["name"] == "level"]  # fmt: skip
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    cells = desk.run("[...document.querySelectorAll('th')].every((cell) => cell.scope)")
    assert cells


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(tab):
    address = tab.run("location.href").partition("#")[0]
    assert {url for url in _requests(tab) if not url.startswith("data:")} == {address}
    assert _complaints(tab) == []
