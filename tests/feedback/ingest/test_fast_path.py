"""The shortcut gives the same events of a line as the mapping and the checks."""

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from feedback.ingest import fast_path
from feedback.ingest.map_day import MappedDay, map_day
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source

DAY = date(2026, 1, 2)
CANONICAL = load_source("canonical")
GOOD = {
    "event_id": "e1", "kind": "draft_shown", "occurred_at": f"{DAY}T10:00:00.5Z", "ticket_id": "t1", "draft_id": "d1",
    "prompt": [{"role": "user", "content": "how?"}], "completion": "so", "extra": {"queue": "gold"},
}  # fmt: skip

TEXTS = st.one_of(
    st.sampled_from(
        [
            "t",
            "",
            "5",
            "007",
            "-1.5e3",
            "+1",
            "1.",
            ".5",
            "true",
            "false",
            "null",
            "{}",
            "{x",
            "[1]",
            "[",
            "f\n",
            "t\n}",
            "d1#sent",
            "e1#preferred",
            "#other",
        ]
    ),
    st.sampled_from([5, -1, 0, 1.5, 1e300, 12345678901234567890, True, False, None, {"a": 1}, [], ["a"]]),
    st.text(max_size=5),
)
TIMES = st.one_of(
    st.sampled_from(
        [
            f"{DAY}T10:00:00Z",
            f"{DAY}T10:00:00.123456+02:00",
            f"{DAY} 10:00",
            f"{DAY}",
            "2026-01-04",
            "1999-12-31",
            "infinity",
            "soon",
            "",
            "1767348000",
            1767348000,
            None,
            True,
            [f"{DAY}"],
        ]
    ),
)
MESSAGES = st.one_of(
    st.lists(
        st.one_of(
            st.fixed_dictionaries({"role": TEXTS, "content": TEXTS}, optional={"name": TEXTS}),
            st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=5)}),
            st.sampled_from([None, "x", {}, {"role": "user"}]),
        ),
        max_size=3,
    ),
    st.sampled_from([None, "hello", '[{"role": "user", "content": "x"}]', {"role": "user", "content": "x"}]),
)
COLUMNS = {
    **dict.fromkeys(["event_id", "ticket_id", "draft_id", "agent_id", "completion", "final_text", "category"], TEXTS),
    "model_version": TEXTS,
    "source": TEXTS,
    "kind": st.one_of(st.sampled_from(["accepted", "surveyed", "resolved", "preference", "ignored"]), TEXTS),
    "occurred_at": TIMES,
    "received_at": TIMES,
    "prompt": MESSAGES,
    "reasons": st.one_of(st.lists(TEXTS, max_size=3), TEXTS),
    "score": st.one_of(st.sampled_from([0, 0.25, 1, 1.0, 1e0, -0.0, 1.5, "0.5", "01", True]), TEXTS),
    "extra": st.one_of(
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=3)),
            lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner)),
            max_leaves=4,
        ),
        TEXTS,
        st.integers(150, 250).map(lambda depth: json.loads("[" * depth + "]" * depth)),
    ),
    "unknown": TEXTS,
}
CHANGES = st.dictionaries(st.sampled_from(list(COLUMNS)), st.none(), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: COLUMNS[name] for name in names})
)
# As text, because a Python dictionary cannot hold a key twice and writes NaN in one way only.
EXTRAS = st.recursive(
    st.sampled_from(
        [
            "NaN",
            "nan",
            "-inf",
            "Infinity",
            "-iNfInItY",
            "1",
            "null",
            '"NaN"',
            '"x,nan"',
            r'"\",inf"',
            r'"\\"',
            '"[-nan"',
        ]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[" + ", ".join(parts) + "]"),
        st.lists(st.tuples(st.sampled_from(["a", "b", "nan", "A", r"\u0061"]), inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f'"{key}" : {value}' for key, value in pairs) + "}"
        ),
    ),
    max_leaves=4,
)
LINES = st.one_of(
    st.builds(
        lambda changes, plain, spaced: json.dumps(
            {**GOOD, **changes}, ensure_ascii=plain, separators=None if spaced else (",", ":")
        ),
        CHANGES, st.booleans(), st.booleans(),
    ),
    EXTRAS.map(lambda extra: with_extra(extra)),
    st.sampled_from(["", "  ", "{", "[]", "null", '"x"', "{}", ' {"event_id": "e1"}', '{"kind": "a", "kind": "b"}']),
)  # fmt: skip


def with_extra(extra: str) -> str:
    return json.dumps({**GOOD, "extra": 0})[: -len("0}")] + extra + "}"


def mapped(root: Path) -> MappedDay:
    return map_day(CANONICAL, discover(root, CANONICAL), input_root=root)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, min_size=1, max_size=40))
@example(lines=[json.dumps({**GOOD, "prompt": [{"role": "user", "content": "x", "more": [[1]] * 300}]})])
def test_it_makes_no_difference(
    lines: list[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path_factory.mktemp("in")
    (root / f"{DAY}.jsonl").write_text("\n".join(line.encode(errors="replace").decode() for line in lines) + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(fast_path, "leads_past", lambda source: True)
        short = mapped(root)
        patch.setattr(fast_path, "leads_past", lambda source: False)
        long = mapped(root)
    assert short.events.to_pylist() == long.events.to_pylist()
    assert short.quarantine.to_pylist() == long.quarantine.to_pylist()
    assert short.books.to_pylist() == long.books.to_pylist()
    for extra in short.events.column("extra").drop_null().to_pylist():
        json.loads(extra, parse_constant=pytest.fail)


@pytest.mark.parametrize("past", [True, False], ids=["past the mapping", "through the mapping"])
def test_what_is_no_json_to_others_is_refused(past: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = ["NaN", '{"a": nan}', '{"a": {"b": [1, -Infinity]}}', '[{"a": inf}]', '{"a": -NAN, "b": ""}']
    twice = ['{"a": 1, "b": 2, "a": 1}', r'{"a": 1, "\u0061": 2}']
    fine = [
        '{"nan": "NaN", "inf": ":-inf"}', r'{"a": "\",nan", "b": "\\"}', '{"a": 1, "A": 2}', "[null, true, 1e9]",
        '{"a": {"b": 1, "b": 2}}',  # known: docs/design.md
    ]  # fmt: skip
    extras = [*bare, *twice, *fine]
    (tmp_path / f"{DAY}.jsonl").write_text("\n".join(map(with_extra, extras)) + "\n")
    monkeypatch.setattr(fast_path, "leads_past", lambda source: past)
    day = mapped(tmp_path)
    assert day.quarantine.column("reason").to_pylist() == [
        *["extra: holds NaN or Infinity, which JSON does not have"] * len(bare),
        *["extra: holds a key twice"] * len(twice),
    ]
    assert [event["line"] for event in day.events.to_pylist()] == [len(bare + twice) + n for n in range(1, 6)]


def test_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({**GOOD, "event_id": f"e{n}"}) for n in range(3)]
    (tmp_path / f"{DAY}.jsonl").write_text("\n".join([*lines, json.dumps({**GOOD, "category": None})]) + "\n")
    left: list[int] = []
    take = fast_path.Shortcut.take

    def watched(self, file, lines):  # type: ignore[no-untyped-def]
        rest = take(self, file, lines)
        left.extend(rest.column("line").to_pylist())
        return rest

    monkeypatch.setattr(fast_path.Shortcut, "take", watched)
    assert mapped(tmp_path).events.num_rows == 4
    assert left == [4]
