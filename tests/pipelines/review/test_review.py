"""The review page without a browser: who is let in, what is told before the verdict, and who gets which row."""

import json
import random
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from desk.desk import Desk
from feedback.audits.blind_rows import Sample, row_key
from feedback.audits.verdicts import Verdict, append_verdicts, current_verdicts
from feedback.exceptions import FeedbackError
from feedback.lake.tables import AUDIT_SAMPLE, VERDICTS
from pipelines.output.safe_text import is_hidden
from pipelines.review.app import create_app
from pipelines.review.guard import HEADERS, MOST_BYTES, Guard
from pipelines.review.queue import CLAIM_SECONDS, OPEN_SECONDS, Queue
from pipelines.review.safe_html import BLOCK, MOST_MARKS, blocks, changes, line, text
from pipelines.review.server import serve
from tests.pipelines.review.review_desk import HOSTILE, RULES, draft, make_desk, redraw

HOST = "127.0.0.1:8000"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a desk that nobody has read anything of."""
    return make_desk(
        tmp_path_factory.mktemp("drawn"),
        draft(1, "accepted"),
        draft(2, "thumbs_down", category="billing"),
        draft(3, "edited", sent="Reply 3 takes 14 days."),
        draft(4, "accepted", text=HOSTILE, category=HOSTILE),
    ).home


@pytest.fixture
def desk(drawn: Path, tmp_path: Path) -> Desk:
    return Desk(shutil.copytree(drawn, tmp_path / "home"), "desk")


class Browser(TestClient):
    """A browser that has opened the page; `forms` holds the fields of the page's forms."""

    def __init__(self, queue: Queue, name: str | None = "ann", guard: Guard | None = None) -> None:
        app = guard or Guard(
            create_app(queue, desk="desk", why=lambda answer: f"why {answer.rule}"), token="t", hosts=frozenset({HOST})
        )
        super().__init__(app, base_url=f"http://{HOST}", headers={"origin": f"http://{HOST}"})
        self.guard = app
        if name is not None:
            self.page = self.get("/?token=t")
            self.page = self.post("/start", data=self.fields | {"name": name})

    @property
    def fields(self) -> dict[str, str]:
        """What the page's forms send along unseen."""
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.page.text))

    @property
    def key(self) -> str:
        return self.page.url.path.split("/")[2]

    def say(self, verdict: str, **more: str) -> None:
        self.page = self.post(f"/row/{self.key}/verdict", data=self.fields | {"verdict": verdict} | more)

    def go(self, path: str) -> None:
        self.page = self.get(path)

    def press(self, path: str) -> None:
        self.page = self.post(path, data={"csrf": self.fields["csrf"], "row": self.key})


@pytest.fixture
def queue(desk: Desk) -> Queue:
    return Queue(desk.lake)


@pytest.fixture
def browser(queue: Queue) -> Iterator[Browser]:
    with Browser(queue) as browser:
        yield browser


def said(desk: Desk) -> list[tuple[str, str, str]]:
    return [(row["draft_id"], row["reviewer"], row["verdict"]) for row in current_verdicts(desk.lake).to_pylist()]


def test_only_a_browser_that_was_given_the_address_gets_in(queue: Queue) -> None:
    stranger = Browser(queue, None)
    for path in ("/", "/next", f"/row/{row_key('d1')}", "/nowhere", "/docs", "/openapi.json"):
        assert stranger.get(path).status_code == 403
    assert stranger.get("/?token=wrong").status_code == 403
    assert stranger.post("/start", data={"name": "eve"}).status_code == 403
    assert not stranger.cookies
    entered = stranger.get("/?token=t", follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
    assert stranger.get("/").status_code == 200


def test_a_link_that_is_followed_from_another_site_still_opens_the_page(queue: Queue) -> None:
    entered = Browser(queue, None).get("/?token=t", headers={"sec-fetch-site": "cross-site"})
    assert entered.status_code == 200 and "url=/" in entered.text and "set-cookie" in entered.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", ""])
def test_a_name_that_was_bound_to_this_machine_is_refused(browser: Browser, host: str) -> None:
    assert browser.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"https://{HOST}", "http://127.0.0.1:8001", ""])
def test_a_form_of_another_page_is_refused(browser: Browser, desk: Desk, origin: str) -> None:
    done = browser.post(
        f"/row/{browser.key}/verdict", data=browser.fields | {"verdict": "desirable"}, headers={"origin": origin}
    )
    assert done.status_code == 403 and said(desk) == []


@pytest.mark.parametrize("action", ["verdict", "reason", "skip", "hold", "undo"])
def test_a_form_without_the_sessions_token_is_refused(browser: Browser, desk: Desk, action: str) -> None:
    for csrf in ("", "x", "ä"):
        fields = browser.fields | {"verdict": "desirable", "csrf": csrf}
        assert browser.post(f"/row/{browser.key}/{action}", data=fields).status_code == 403
    assert said(desk) == []


def test_what_no_person_writes_is_refused(browser: Browser, desk: Desk) -> None:
    key = browser.key
    address = f"/row/{key}/verdict"
    fields = browser.fields
    assert browser.post(address, data=fields | {"note": "x" * MOST_BYTES}).status_code == 413
    for wrong in ({}, {"verdict": "withdrawn"}, {"verdict": "desirable", "note": "x" * 4001}):
        assert browser.post(address, data=fields | wrong).status_code == 422
    asked = {"accept": "application/json"}
    done = browser.post(address, data=fields | {"verdict": "desirable", "reason": "no reason"}, headers=asked)
    assert done.status_code == 409 and "must be one of" in done.json()["problem"]
    for wrong in ("soon", "nan", "-1", "inf"):
        browser.go(f"/row/{key}")
        browser.say("desirable", seconds=wrong)
        browser.press(f"/row/{key}/undo")
    assert {row["seconds"] for row in browser_rows(desk)} == {None}


def browser_rows(desk: Desk) -> list[dict[str, object]]:
    return list(desk.lake.dataset(VERDICTS).to_table().to_pylist())


def test_every_answer_confines_what_it_shows(browser: Browser) -> None:
    for path in ("/", "/next", "/static/review.js", "/static/nowhere", "/nowhere", "/?token=wrong"):
        assert HEADERS.items() <= dict(browser.get(path).headers).items()
    assert "unsafe" not in HEADERS["content-security-policy"]
    for path in ("/", browser.page.url.path):
        page = browser.get(path).text
        # Nothing that the policy would have to allow, and nothing from anywhere else.
        assert not re.search(r"<script(?! src=\"/static/)|<style|\sstyle=|\son\w+=|https?://", _without_texts(page))


def _without_texts(page: str) -> str:
    return re.sub(r' value="[^"]*"', "", re.sub(r">[^<]*<", "><", page))


def _blind(page: str) -> str:
    """A page without what differs from one to the next."""
    return re.sub(r'name="(csrf|form)" value="[^"]*"', "", page)


def test_nothing_tells_the_label_before_the_verdict(desk: Desk, tmp_path: Path) -> None:
    """The pages of two desks that differ in nothing but labels are the same, letter by letter."""
    pages = []
    for flipped in (False, True):
        if flipped:
            flip(desk)
        browser = Browser(Queue(desk.lake, desk.policy.audit.strata))
        seen = [browser.get("/").text]
        for key in Sample(desk.lake):
            browser.go(f"/row/{key}")
            seen.append(browser.page.text)
        pages.append([_blind(page) for page in seen])
        for page in seen:
            assert not re.search("|".join((*RULES, "zebra", "okapi", "explicit", "0.625", "0.875", "#sent")), page)
    assert pages[0] == pages[1]


def flip(desk: Desk) -> None:
    """Give every row of the sample the other label, by another rule."""
    rows = desk.lake.dataset(AUDIT_SAMPLE).to_table().to_pylist()
    for row in rows:
        label = "desirable" if row["label"] == "undesirable" else "undesirable"
        row |= {
            "label": label,
            "tier": "critical",
            "rule": "zebra_other",
            "weight": 9.0,
            "stratum": "s",
            "stratum_size": 1,
        }
        row |= {"suspected": True, "inclusion_probability": 0.5, "policy_digest": "q", "policy": "okapi_two"}
    desk.lake.replace(AUDIT_SAMPLE, pa.Table.from_pylist(rows, AUDIT_SAMPLE.schema))


def test_the_verdict_is_kept_and_then_the_policy_speaks(browser: Browser, desk: Desk) -> None:
    assert browser.key == row_key("d1")
    browser.say("undesirable", reason="tone", note=" line\r\nline ", seconds="4.26")
    [row] = current_verdicts(desk.lake).to_pylist()
    told = ("draft_id", "reviewer", "verdict", "reason", "note", "seconds", "origin", "rule")
    assert [row[name] for name in told] == [
        "d1", "ann", "undesirable", "tone", "line\nline", 4.3, "review", "zebra_taken"
    ]  # fmt: skip
    assert "You and the policy differ" in browser.page.text and "why zebra_taken" in browser.page.text
    browser.go("/next")
    assert browser.key == row_key("d2")
    browser.say("undesirable")
    assert "You and the policy agree" in browser.page.text
    browser.go("/next")
    browser.say("unsure")
    assert "You could not tell" in browser.page.text
    while browser.page.url.path != "/next":
        browser.go("/next")
        if browser.page.url.path != "/next":
            browser.say("desirable")
    assert "Nothing is left for you to read" in browser.page.text and "5 of 5 verdicts" in browser.page.text


def test_the_same_form_twice_is_one_verdict(browser: Browser, desk: Desk) -> None:
    fields, address = browser.fields | {"verdict": "desirable"}, f"/row/{browser.key}/verdict"
    browser.go(browser.page.url.path)
    again = browser.fields | {"verdict": "desirable"}  # the row in another tab
    for form in (fields, fields, again, again):
        assert browser.post(address, data=form).status_code == 200
    assert len(browser_rows(desk)) == 1
    browser.post(address, data=fields | {"form": "third", "verdict": "undesirable"})
    assert said(desk) == [("d1", "ann", "undesirable")] and len(browser_rows(desk)) == 2
    # A form that comes late does not bring back what was withdrawn since.
    browser.page = browser.get(f"/row/{browser.key}")
    browser.press(f"/row/{row_key('d1')}/undo")
    browser.post(address, data=fields)
    assert said(desk) == []


def test_undo_goes_back_verdict_by_verdict(browser: Browser, desk: Desk) -> None:
    for verdict in ("desirable", "undesirable"):
        browser.say(verdict)
        browser.go("/next")
    for last, left in (("d2", [("d1", "ann", "desirable")]), ("d1", [])):
        browser.press("/undo")
        assert browser.key == row_key(last) and "withdrawn" in browser.page.text and said(desk) == left
        assert "zebra" not in browser.page.text
    assert browser.post("/undo", data={"csrf": browser.fields["csrf"]}).status_code == 409


def test_a_reason_that_comes_after_the_verdict_is_one_more_row_of_the_journal(browser: Browser, desk: Desk) -> None:
    browser.say("undesirable", note="so", seconds="4")
    for reason in ("tone", "tone", "outdated", ""):
        browser.page = browser.post(f"/row/{browser.key}/reason", data=browser.fields | {"reason": reason})
        assert (reason.replace("_", " ") in browser.page.text) and "You and the policy differ" in browser.page.text
    rows = sorted(browser_rows(desk), key=lambda row: str(row["recorded_at"]))
    assert [row["reason"] for row in rows] == [None, "tone", "outdated", None]
    same = ("draft_id", "reviewer", "verdict", "note", "seconds", "text_digest", "origin")
    assert len({tuple(row[name] for name in same) for row in rows}) == 1
    assert len(current_verdicts(desk.lake)) == 1
    for wrong in ({"reason": "no reason"}, {"digest": "0", "reason": "tone"}):
        assert browser.post(f"/row/{browser.key}/reason", data=browser.fields | wrong).status_code == 409
    # Of a row that the reader has not judged there is nothing to give a reason for.
    browser.go("/next")
    browser.page = browser.post(f"/row/{browser.key}/reason", data=browser.fields | {"reason": "tone"})
    assert len(browser_rows(desk)) == 4 and "zebra" not in browser.page.text


def test_what_is_skipped_comes_again_at_the_end(browser: Browser) -> None:
    first = browser.key
    browser.press(f"/row/{first}/skip")
    order = []
    while (key := browser.key) not in order and key != first:
        order.append(key)
        browser.say("unsure")
        browser.go("/next")
    assert len(order) == 4 and browser.key == first and "You skipped this row before" in browser.page.text


def test_rows_are_chosen_only_by_what_tells_nothing_of_the_label(desk: Desk) -> None:
    queue = Queue(desk.lake, ("label", "tier", "rule", "category", "model_version"))
    assert queue.facets == ("category", "model_version", "month")
    browser = Browser(queue)
    start = browser.get("/").text
    assert "=billing" in start and "(1)" in start and "<script>alert" not in start
    browser.go("/next?category=%3Dbilling&label=%3Ddesirable&rule=%3Dzebra_down")
    assert browser.key == row_key("d2")
    browser.say("desirable")
    browser.go("/next?category=%3Dbilling")
    assert "Nothing is left here" in browser.page.text and "4 rows wait outside" in browser.page.text
    browser.go("/next?category=none")
    assert browser.page.url.path == "/next"


def test_names_are_people(queue: Queue, desk: Desk) -> None:
    assert Browser(queue, "Ann").key != Browser(queue, "bob").key
    again = Browser(queue, " aNN ")
    again.say("desirable")
    assert [row[1] for row in said(desk)] == ["Ann"]
    for name in ("", "  ", "x" * 61, "Simulated 1"):
        refused = Browser(queue, name)
        assert refused.page.status_code == 422 and 'role="alert"' in refused.page.text
    named = Browser(queue, "<b>\u202e")
    named.say("unsure")
    assert said(desk)[-1][1] == "<b><U+202E>"
    assert Browser(queue, None, named.guard).get("/next").status_code == 403
    nameless = Browser(queue, None, named.guard)
    nameless.get("/?token=t")
    assert nameless.get("/next", follow_redirects=False).headers["location"] == "/"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_nobody_gets_a_row_that_others_have_and_nobody_gets_one_twice(tmp_path: Path) -> None:
    """Three people read at random for a while, skip, wait, undo and come back; then all of it is read."""
    drafts = [draft(number, "accepted") for number in range(12)]
    desk = make_desk(tmp_path, *drafts, readers={"d2": 2, "d5": 3, "d7": 2})
    clock, chance = Clock(), random.Random(7)
    queue = Queue(desk.lake, clock=clock)
    holding: dict[str, str] = {}
    judged = defaultdict(set)

    def judge(reader: str) -> None:
        key = holding.pop(reader)
        assert key not in judged[reader]
        judged[reader].add(key)
        form = f"{reader}{len(judged[reader])}{clock.now}"
        queue.give_verdict(reader, key, form=form, digest=queue.question(key).digest,
                           verdict="desirable", reason=None, note=None, seconds=1.0)  # fmt: skip

    for step in range(400):
        reader = chance.choice(("ann", "bob", "eve"))
        act = chance.choice(("judge", "judge", "skip", "undo", "tab")) if step < 60 else "judge"
        clock.now += OPEN_SECONDS
        for other, key in holding.items():
            queue.hold(other, key)
        if reader not in holding:
            key = queue.next(reader, {})
            if key is None:
                continue
            others = sum(key == held for held in holding.values()) + sum(key in done for done in judged.values())
            assert others < queue._state.sample.readers(key) and key not in judged[reader]
            holding[reader] = key
        elif act == "judge":
            judge(reader)
        elif act == "skip":
            queue.skip(reader, holding.pop(reader))
        elif act == "undo" and judged[reader]:
            last = queue.last(reader)
            assert last is not None and queue.withdraw(reader, last)
            judged[reader].discard(last)
            queue.skip(reader, last)
        elif act == "tab":
            assert queue.next(reader, {}) != holding[reader] or queue.progress(reader, {}).left == 1
    assert not holding
    counts = Counter(key for done in judged.values() for key in done)
    assert counts == {row_key(f"d{number}"): {2: 2, 5: 3, 7: 2}.get(number, 1) for number in range(12)}
    assert queue.progress("ann", {}).done == queue.progress("ann", {}).total == 16
    # Another process reads the same from the lake.
    assert Queue(desk.lake)._state.verdicts.keys() == queue._state.verdicts.keys()
    assert [*map(sorted, Queue(desk.lake)._state.verdicts.values())] == [*map(sorted, queue._state.verdicts.values())]


def test_a_row_that_somebody_left_is_handed_on_and_a_late_verdict_is_kept(desk: Desk) -> None:
    clock = Clock()
    queue = Queue(desk.lake, clock=clock)
    key = queue.next("ann", {})
    assert key is not None and not queue.hold("bob", key)
    clock.now += CLAIM_SECONDS + 1
    assert queue.next("bob", {}) == key
    assert not queue.hold("ann", key)
    said_late = {"verdict": "unsure", "reason": None, "note": None, "seconds": None}
    queue.give_verdict("ann", key, form="f", digest=queue.question(key).digest, **said_late)
    assert [row[1] for row in said(desk)] == ["ann"]
    # Only rows that the reader has judged tell what the policy made of them.
    assert queue.answer("ann", key) is not None and queue.answer("bob", key) is None


def test_what_others_write_meanwhile_is_found(browser: Browser, queue: Queue, desk: Desk) -> None:
    first = browser.key
    append_verdicts(
        desk.lake,
        [Verdict(draft_id=f"d{number}", reviewer="Eve", verdict="desirable") for number in (2, 3)],
        origin="import",
    )
    append_verdicts(desk.lake, [Verdict(draft_id="d4", reviewer="simulated", verdict="desirable")], origin="simulated")
    browser.say("desirable")
    browser.go("/next")
    assert browser.key == row_key("d4")  # a simulated verdict is nobody's reading
    redraw(desk, {}, without=("d4",))
    browser.say("desirable")
    assert browser.page.status_code == 409 and "not in the audit sample any more" in browser.page.text
    browser.go(f"/row/{first}")
    assert "zebra_taken" in browser.page.text
    browser.go("/next")
    assert browser.key == row_key("d3#sent")
    rows = desk.lake.dataset(AUDIT_SAMPLE).to_table().to_pylist()
    rows = [row | {"completion": f"{row['completion']} Since changed."} for row in rows]
    desk.lake.replace(AUDIT_SAMPLE, pa.Table.from_pylist(rows, AUDIT_SAMPLE.schema))
    browser.say("desirable")
    assert browser.page.status_code == 409 and "read it again" in browser.page.text


def test_the_time_left_and_the_verdicts_kept_are_those_of_this_sitting(tmp_path: Path) -> None:
    desk = make_desk(tmp_path, *(draft(number, "accepted") for number in range(7)))
    append_verdicts(
        desk.lake, [Verdict(draft_id="d0", reviewer="ann", verdict="unsure", seconds=1.0)], origin="review"
    )  # an earlier sitting
    queue = Queue(desk.lake)

    def read(seconds: float) -> str:
        key = queue.next("ann", {})
        assert key is not None
        queue.give_verdict("ann", key, form=key, digest=queue.question(key).digest,
                           verdict="desirable", reason=None, note=None, seconds=seconds)  # fmt: skip
        return key

    for seconds in (10.0, 1000.0, 20.0, 30.0, 15.0):
        assert queue.progress("ann", {}).seconds is None
        key = read(seconds)
    assert queue.progress("ann", {}).seconds == 20.0 * 1
    assert queue.progress("bob", {}).seconds is None
    assert queue.give_reason("ann", key, digest=queue.question(key).digest, reason="tone")
    assert queue.kept == 5 and queue.progress("ann", {}).seconds == 20.0 * 1
    assert queue.withdraw("ann", key) and queue.withdraw("ann", row_key("d0"))
    assert queue.kept == 4 and queue.progress("ann", {}).seconds is None


def test_one_server_a_desk_and_only_where_it_is_meant(desk: Desk) -> None:
    def refused(**given: object) -> str:
        with pytest.raises(FeedbackError) as error:
            serve(desk, **({"host": "127.0.0.1", "port": 0, "exposed": False, "opens": False, "say": str} | given))  # type: ignore[arg-type]
        return str(error.value)

    assert "would answer under any name" in refused(host="0.0.0.0", exposed=True)
    assert "lets other machines read" in refused(host="192.0.2.1")
    assert "cannot be listened on" in refused(host="192.0.2.1", exposed=True)
    assert "is not an address" in refused(host="nowhere.invalid")
    desk.lake.replace(AUDIT_SAMPLE, AUDIT_SAMPLE.schema.empty_table())
    assert "`feedback-kto audit draw` draws them" in refused()


# What a page shows of a text, as the text that a reader sees.
def _seen(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html))


_TEXTS = st.text(
    st.one_of(st.sampled_from("ab <>&'\"\n\t\u202e\u200b\x00\r漢字"), st.characters(codec="utf-8")), max_size=60
)


@given(_TEXTS)
def test_every_text_is_text(value: str) -> None:
    plain = value.replace("\r\n", "\n").replace("\t", "    ")
    for shown, most in ((text(value), None), (line(value), 80), *((block, None) for block in blocks(value))):
        tags = {tag.split(" ")[0] for tag in re.findall(r"<([^>]*)>", shown)}
        assert tags <= {"span", "/span", "bdi", "/bdi"}
        assert not any(map(is_hidden, shown))
        assert most is None or "\n" not in shown
    kept = "".join(character for character in plain if not is_hidden(character))
    without_marks = re.sub(r'<span class="mark"[^>]*>[^<]*</span>', "", text(value))
    assert unescape(without_marks) == kept
    assert "".join(map(_seen, blocks(value))) == _seen(text(value))


def _letters(html: str) -> str:
    """What can be seen of it, without marks and blanks."""
    return re.sub(r"\s+", "", _seen(re.sub(r'<span class="mark"[^>]*>[^<]*</span>', "", html)))


@given(_TEXTS, _TEXTS)
def test_a_diff_holds_both_texts(before: str, after: str) -> None:
    parts = changes(before, after)
    assert parts is not None
    for kind, value in (("removed", before), ("added", after)):
        assert _letters("".join(part.text for part in parts if part.kind in ("kept", kind))) == _letters(text(value))


@pytest.mark.parametrize("unit", ["word ", "x", "a\u200b", "\u202e", "漢", "<b>\n"])
def test_a_megabyte_is_cut_into_blocks_and_a_diff_of_it_is_short_or_none(unit: str) -> None:
    long = unit * (1_000_000 // len(unit))
    parts = blocks(long)
    assert sum(map(len, parts)) < 10_000_000 and max(map(len, parts)) < 10 * BLOCK
    assert sum(part.count("<span") for part in parts) <= MOST_MARKS
    for other in (long.replace(unit, f"{unit}dolor ", 1), "dolor " + long[: len(long) // 2] + "amet", "dolor"):
        found = changes(long, other)
        assert found is None or sum(len(part.text) for part in found) < 20_000


def test_files_go_out_and_come_back_by_the_command(command: Command, desk: Desk, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command("--home", str(desk.home), "audit", *arguments)

    done = run("export", str(rows))
    assert done.returncode == 0 and done.stdout.startswith(f"5 rows in {rows}\n")
    assert "--force" in run("export", str(rows)).stderr
    unfilled = run("import", str(rows))
    assert (unfilled.returncode, unfilled.stdout) == (1, "5 not judged\n")
    assert "has a verdict yet; fill in its column verdict" in unfilled.stderr
    text = rows.read_text(encoding="utf-8-sig")
    filled = re.sub(r'"","","",""\n', '"desirable","","","Ann"\n', text, count=2)
    rows.write_text(filled.replace('"","","",""\n', '"fine","","","\u202eAnn"\n', 1))
    done = run("import", str(rows))
    assert (done.returncode, done.stdout) == (1, "2 kept, 2 not judged, 1 refused\n")
    aside = tmp_path / "rows.refused.csv"
    assert re.fullmatch(
        rf"{rows}, line .*: its verdict is 'fine'; .*\n"
        rf"feedback-kto: 1 row of {rows} was refused, 2 verdicts in other rows were kept; .* audit import {aside}`\.\n",
        done.stderr,
    )
    assert aside.exists()
    done = run("export", "--all", str(tmp_path / "all.csv"))
    assert done.stdout.startswith(f"5 rows in {tmp_path / 'all.csv'}, with 2 verdicts of people on 2 of them\n")
    done = run("import", str(tmp_path / "all.csv"))
    assert (done.returncode, done.stdout) == (0, "2 known already, 3 not judged\n")
    assert len(run("export", str(tmp_path / "rest.json")).stdout.split(" and ")) == 2
    assert len(json.loads((tmp_path / "rest.json").read_text())) == 3
