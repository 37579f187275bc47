"""The review page as a person has it: a real server in a process of its own, and a real browser with a keyboard."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desk.desk import Desk
from feedback.audits.blind_rows import row_key
from feedback.audits.verdicts import current_verdicts
from feedback.lake.tables import VERDICTS
from tests.pipelines.review.review_desk import HOSTILE, RULES, draft, make_desk

ROOT = Path(__file__).resolve().parents[3]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MEGABYTE = "Lorem ipsum dolor sit amet, " * 38_000

browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(
    browser_path is None, reason=f"no browser is installed ({', '.join(BROWSERS)}); on Debian: apt-get install chromium"
)
Page = Any
Context = Any


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # which it refuses to have as root
        browser = playwright.chromium.launch(executable_path=browser_path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk that nobody has read anything of: seven drafts, and what was sent in one's place."""
    return make_desk(
        tmp_path,
        draft(1, "accepted"),
        draft(2, "thumbs_down"),
        draft(3, "edited", sent="Reply 3 takes 14 days."),
        draft(4, "accepted", text=HOSTILE, category=HOSTILE, agent_id=HOSTILE, model_version=HOSTILE),
        *(draft(number, "accepted") for number in range(5, 8)),
        readers={"d1": 2, "d7": 2},
    )


class Served:
    """`feedback-kto audit review` in a process of its own."""

    def __init__(self, desk: Desk) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines", "--home", str(desk.home), "audit", "review", "--no-open"],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert self.process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", self.process.stdout.readline())
        assert found is not None
        self.url = found[0]

    def stop(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.fixture
def served(desk: Desk) -> Iterator[Served]:
    served = Served(desk)
    yield served
    if served.process.poll() is None:
        served.stop(signal.SIGKILL)


class Reader:
    """Somebody at a browser of their own, with all that it is told."""

    def __init__(self, chromium: Any, url: str, name: str, **options: Any) -> None:
        self.context: Context = chromium.new_context(**{"viewport": {"width": 1366, "height": 768}, **options})
        self.alarms: list[str] = []
        self.told: list[str] = []
        self.page = self.tab()
        self.page.goto(url)
        assert "token" not in self.page.url
        self.page.keyboard.type(name)  # the field has the focus
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/row/*")

    def tab(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: self.alarms.append(message.text))
        page.on("pageerror", lambda error: self.alarms.append(str(error)))
        page.on("dialog", lambda dialog: self.alarms.append(dialog.message))
        page.on("response", self._listen)
        return page

    def _listen(self, response: Any) -> None:
        if response.status == 200 and response.request.is_navigation_request():
            self.told.append(response.text())

    @property
    def key(self) -> str:
        return str(self.page.url.split("/row/")[1].split("?")[0])

    def press(self, *keys: str, until: str) -> None:
        """Press keys and wait for what they bring."""
        self.page.wait_for_selector("body.rested")  # a verdict's key rests at first
        for key in keys:
            self.page.keyboard.press(key)
        self.page.wait_for_selector(until)

    def next(self) -> None:
        before = self.key
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(lambda url: before not in url)


def said(desk: Desk, reviewer: str) -> list[tuple[str, str]]:
    rows = current_verdicts(desk.lake).to_pylist()
    return [(row["draft_id"], row["verdict"]) for row in rows if row["reviewer"] == reviewer]


def test_rows_are_read_by_keyboard_blind_and_as_text(chromium: Any, served: Served, desk: Desk) -> None:
    ann = Reader(chromium, served.url, "Ann")
    page = ann.page
    blind = re.compile("|".join(("zebra", "okapi", "explicit", "0.625", "#sent", *RULES)))
    assert ann.key == row_key("d1")
    assert not blind.search(page.content()) and not any(map(blind.search, ann.told))

    # A reason, a note with letters that are keys elsewhere, and the verdict.
    page.keyboard.press("2")
    page.keyboard.press("n")
    page.keyboard.type("did you use 1?")
    page.keyboard.press("Escape")
    ann.press("u", until="body.judged")
    [row] = desk.lake.dataset(VERDICTS).to_table().to_pylist()
    assert [row[name] for name in ("draft_id", "reviewer", "verdict", "reason", "note")] == [
        "d1", "Ann", "undesirable", "wrong_routing", "did you use 1?"
    ]  # fmt: skip
    assert 0 < row["seconds"] < 10
    assert "You and the policy differ" in page.inner_text(".actions") and "zebra_why" in page.inner_text(".actions")
    assert page.evaluate("document.activeElement.textContent").startswith("Next row")

    # Enter gives no verdict on a row, wherever the focus is; a reason's key pressed again takes it back.
    ann.next()
    assert ann.key == row_key("d2")
    for key in ("Enter", "3", "3"):
        page.keyboard.press(key)
    page.focus(".chip.none input")
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('input[name=reason]:checked').value") == ""
    ann.press("c", until="body.judged")
    ann.press("z", until="body.reading")
    assert page.inner_text("#status").startswith("Your verdict is withdrawn")
    assert said(desk, "Ann") == [("d1", "undesirable")]
    # A reason pressed at once after the verdict, before its page is there, is that verdict's; so is one pressed later.
    ann.press("d", "4", until=".chip[data-key='4'][aria-pressed=true]")
    page.keyboard.press("6")
    page.wait_for_selector(".chip[data-key='6'][aria-pressed=true]")
    assert "outdated" in page.inner_text("#reveal")
    newest = current_verdicts(desk.lake).to_pylist()[-1]
    assert (newest["draft_id"], newest["verdict"], newest["reason"]) == ("d2", "desirable", "outdated")

    ann.next()
    assert (
        page.text_content(".sent .text del") == "[removed: 30]"
        and page.text_content(".sent .text ins") == "[added: 14]"
    )
    skipped = ann.key
    page.wait_for_selector("body.rested")
    page.keyboard.press("s")
    page.wait_for_url(lambda url: skipped not in url)

    # What came from the internet is text, and what cannot be seen is shown.
    assert ann.key == row_key("d4")
    shown = page.inner_text(".reply .text")
    assert "<script>alert('x')</script><img src=x onerror=alert(1)> **md**" in shown and "{{ 7*7 }} &lt;" in shown
    assert "⟨U+202E⟩right⟨U+202C⟩" in shown and "⟨U+200B ×2 U+2066 U+0000 U+001B⟩" in shown
    assert page.evaluate("document.querySelectorAll('main img, main script, main b').length") == 0
    ann.press("d", until="body.judged")

    ann.next()
    page.keyboard.press("?")
    assert page.evaluate("document.querySelector('dialog').open") and "Undo the last verdict" in page.inner_text(
        "dialog"
    )
    page.keyboard.press("d")  # is no verdict while the help is open
    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    page.keyboard.press("f")
    page.wait_for_selector("body.start")
    assert page.input_value("input[name=name]") == "Ann"
    assert ann.alarms == []
    assert said(desk, "Ann") == [("d1", "undesirable"), ("d2", "desirable"), ("d4", "desirable")]


def test_a_megabyte_is_on_the_screen_at_once_in_an_area_of_its_own(chromium: Any, tmp_path: Path) -> None:
    served = Served(make_desk(tmp_path, draft(1, "edited", text=MEGABYTE, sent=MEGABYTE.replace("dolor", "color", 1))))
    try:
        page = Reader(chromium, served.url, "Ann").page
        page.wait_for_selector("body.rested")
        assert page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 5_000  # 300 idle
        assert page.evaluate("document.querySelector('.reply .text').textContent.length") == len(MEGABYTE)
        assert page.text_content(".sent .text ins") == "[added: color]"
        assert page.evaluate("document.documentElement.scrollHeight") < 3_000
    finally:
        served.stop(signal.SIGKILL)


def test_several_people_and_tabs_and_a_crash(chromium: Any, served: Served, desk: Desk) -> None:
    ann, bob = Reader(chromium, served.url, "Ann"), Reader(chromium, served.url, "Bob")
    assert ann.key == bob.key == row_key("d1")  # which two people are to read
    tab = ann.tab()
    tab.goto(served.url)
    tab.click("text=Start reading")
    tab.wait_for_url("**/row/*")
    assert row_key("d2") in tab.url  # another than in the first tab

    # The same form from two tabs, sent twice at once, is one verdict; what was said last counts.
    twin = ann.tab()
    twin.goto(ann.page.url)
    ann.press("d", "d", until="body.judged")
    twin.wait_for_selector("body.rested")
    twin.keyboard.press("d")
    twin.wait_for_selector("body.judged")
    assert desk.lake.dataset(VERDICTS).count_rows() == 1

    bob.press("u", until="body.judged")
    bob.next()
    assert bob.key == row_key("d3")
    bob.press("d", until="body.judged")

    # The server is killed, with a note half written: it says so, and keeps what was saved.
    ann.next()
    ann.page.keyboard.press("n")
    ann.page.keyboard.type("half a note")
    ann.page.keyboard.press("Escape")
    kept = said(desk, "Ann"), said(desk, "Bob")
    served.stop(signal.SIGKILL)
    ann.press("u", until="#problem:not(:empty)")
    assert "does not answer" in ann.page.inner_text("#problem")
    assert ann.page.input_value("textarea") == "half a note"

    again = Served(desk)
    try:
        assert (said(desk, "Ann"), said(desk, "Bob")) == kept
        ann, bob = Reader(chromium, again.url, "ann"), Reader(chromium, again.url, "BOB")
        seen: dict[str, list[str]] = {"Ann": [], "Bob": []}
        while True:
            for name, reader in (("Ann", ann), ("Bob", bob)):
                if "/row/" in reader.page.url:
                    seen[name].append(reader.key)
                    reader.press("c", until="body.judged")
                    reader.page.keyboard.press("Enter")
                    reader.page.wait_for_selector("body.reading, body.end")
            if all("/next" in reader.page.url for reader in (ann, bob)):
                break
        assert "Nothing is left for you to read" in ann.page.inner_text("main")
        # Overlap only where it is meant, and nothing twice.
        assert set(seen["Ann"]) & set(seen["Bob"]) <= {row_key("d7")}
        assert all(len(set(keys)) == len(keys) for keys in seen.values())
        both = {draft for draft, _ in said(desk, "Ann")} & {draft for draft, _ in said(desk, "Bob")}
        assert both == {"d1", "d7"} and len(current_verdicts(desk.lake)) == 10
        second = subprocess.run(
            [sys.executable, "-m", "pipelines", "--home", str(desk.home), "audit", "review", "--no-open"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert second.returncode == 1 and "is open already, by process" in second.stderr, second.stderr
        assert len(second.stderr.splitlines()) == 1
    finally:
        code, last = again.stop(signal.SIGINT)
    assert code == 0 and "verdicts were saved" in last and "Traceback" not in last


def test_it_reads_on_a_phone_by_day_and_by_night(chromium: Any, served: Served) -> None:
    for scheme in ("light", "dark"):
        read_on_a_phone(chromium, served, scheme)


def read_on_a_phone(chromium: Any, served: Served, scheme: str) -> None:
    reader = Reader(
        chromium, served.url, f"phone {scheme}", viewport={"width": 320, "height": 640}, color_scheme=scheme,
        has_touch=True,
    )  # fmt: skip
    page = reader.page
    for _ in range(2):
        look(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        bar = page.locator(".actions").bounding_box()
        assert bar["y"] + bar["height"] <= 640 and bar["height"] < 160
        page.wait_for_selector("body.rested")
        page.locator(".verdict.unsure").tap()
        page.wait_for_selector("body.judged")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        look(page)
        page.locator(".actions .next").tap()
        page.wait_for_selector("body.reading")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 300) == (scheme == "dark")
    page.locator(".who").tap()
    page.wait_for_selector("body.start")
    look(page)
    assert reader.alarms == []


def look(page: Page) -> None:
    """Hold a page to what people with other eyes, or none, need of it."""
    assert page.evaluate(_FAINT) == []
    assert page.evaluate(_NAMELESS) == []
    assert [page.locator(tag).count() for tag in ("header", "main", "h1")] == [1, 1, 1]
    assert page.evaluate("document.title") and page.evaluate("document.documentElement.lang") == "en"


# Texts whose contrast with what is behind them is less than WCAG's AA asks for: 4.5, and 3 where they are large.
_FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = (color) => color.slice(0, 3).map((c) => linear(c / 255))
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = rgb(getComputedStyle(element).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].filter((element) =>
    element.checkVisibility() && !element.closest(".hidden, .block") &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
  ).map((element) => {
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(style.color)), light(behind(element))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    return [element.outerHTML.slice(0, 80), (a + .05) / (b + .05), large ? 3 : 4.5];
  }).filter(([, contrast, least]) => contrast < least);
}"""
_NAMELESS = """() => [
  ...document.querySelectorAll("input:not([type=hidden]), textarea, select, button, [role=region]")
].filter(
  (element) => !element.hidden && !element.ariaLabel && !element.labels?.length && !element.textContent.trim()
).map((element) => element.outerHTML)"""
