"""Closed lists of words have one home: what is added there is known everywhere, in the code, the SQL and the docs."""

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest

from feedback.audits.verdicts import ANSWERS, Origin, VerdictKind
from feedback.history import explain
from feedback.history.row_verdicts import WhyNot
from feedback.labels.corrections import Cause
from feedback.lake.event_schema import ALL_KINDS, EVENT_SCHEMA, MAPPED_COLUMNS
from feedback.lake.tables import INTERACTIONS, LABELS
from feedback.training_set.rows import COLUMNS, PAIR_COLUMNS, Fate
from label_policy import (
    DRAFT_COLUMN_NAMES,
    EVENT_KINDS,
    INTERACTION_COLUMNS,
    SIGNALS,
    TRAINING_COLUMN_NAMES,
    EditKind,
    Failing,
    Label,
    State,
    Tier,
    ValueType,
)
from label_policy.audits.audit_gate import Outcome
from label_policy.checks.label_diff import KINDS
from label_policy.policy.fields import STRATUM_COLUMNS
from pipelines.output import styles
from pipelines.views import audit_tables, explain_audit, explain_view, plan_words

ROOT = Path(__file__).resolve().parents[1]
HOMES: dict[str, frozenset[str]] = {
    "label_policy.EVENT_KINDS": frozenset((*ALL_KINDS, *SIGNALS)),
    "the times of label_policy.SIGNALS": frozenset(f"{signal}_at" for signal in SIGNALS),
    "label_policy.DRAFT_COLUMNS": frozenset(DRAFT_COLUMN_NAMES),
    **{
        f"{words.__module__}.{words.__name__}": frozenset(map(str, words))
        for words in (Tier, Label, State, EditKind, Failing, Outcome, VerdictKind, Origin, Fate, Cause)
    },
}
# kto_core and harbor may not import the homes: the one has names of its own for its two classes, and the other
# writes logs as any desk does.
PACKAGES = ("label_policy", "feedback", "desk", "training_worker", "assets", "pipelines")
SPELLED_OUT = {
    "label_policy/schema/event_kinds.py": "the home of the two signals of a ranking",
    "feedback/audits/blind_rows.py": "the fields of a question, which a reader is shown",
}


def literal_lists(path: Path) -> Iterator[tuple[int, set[str]]]:
    """The line and the texts of every list, set, tuple or dict of a file, and of all parentheses of the SQL in it."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from in_parentheses(source, 1)
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.Dict(keys=parts):
                yield node.lineno, {str(part.value) for part in parts if isinstance(part, ast.Constant)}
            case ast.Constant(value=str(text)):
                yield from in_parentheses(text, node.lineno)


def in_parentheses(text: str, line: int) -> Iterator[tuple[int, set[str]]]:
    for group in re.finditer(r"\(([^()]*)\)", text):
        yield line + text.count("\n", 0, group.start()), set(re.findall(r"""['"]([^'"]*)['"]""", group[1]))


def test_no_list_is_spelled_out_beside_its_home() -> None:
    stray = [
        f"{path.relative_to(ROOT)}:{line}: {', '.join(sorted(texts & words))} are of {home}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.suffix in (".py", ".sql", ".j2") and str(path.relative_to(ROOT)) not in SPELLED_OUT
        for line, texts in literal_lists(path)
        for home, words in HOMES.items()
        if len(texts & words) > 1
    ]
    assert stray == []


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("label-policies.md", [*(f"{signal}_at" for signal in SIGNALS), *INTERACTION_COLUMNS]),
        ("label-policies.md", [*Label, *Tier, *EditKind, *State, *Failing]),
        ("label-policies.md", STRATUM_COLUMNS),
        ("edit-severity.md", EditKind),
        ("late-feedback.md", Cause),
        ("audits.md", Outcome),
        ("design.md", [*Label, *Tier, *EditKind, *Cause, *Origin, *INTERACTION_COLUMNS, *COLUMNS]),
    ],
)
def test_the_docs_know_every_word(page: str, words: Collection[str]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    marked = re.findall(r"```.*?```|`[^`]*`|\*\*[^*]*\*\*", text, re.DOTALL)
    known = {word for part in marked for word in re.findall(r"\w+", part)}
    assert [str(word) for word in dict.fromkeys(words) if word not in known] == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (styles.LABEL_STYLES, Label),
        (styles.VERDICT_STYLES, ANSWERS),
        (audit_tables._STYLES, Outcome),
        (explain_view._WHY_NOT, ["not labelled", "abstains", State.PROVISIONAL, *(set(Fate) - {Fate.KEPT})]),
        (explain_audit._WHY_NOT, get_args(WhyNot)),
        (plan_words._KINDS, KINDS),
    ],
)
def test_what_is_shown_has_words_or_a_colour_for_each(said: Mapping[str, object], words: Collection[str]) -> None:
    assert said.keys() == set(words)


def test_what_a_kind_of_event_needs_and_gives_there_is() -> None:
    for kind in EVENT_KINDS:
        assert set(kind.needs) <= set(EVENT_SCHEMA.names), kind.name
        assert {*kind.gives, *(f"{signal}_at" for signal in kind.signals)} <= set(INTERACTION_COLUMNS), kind.name
    assert len(ALL_KINDS) == len(set(ALL_KINDS))


def test_an_explanation_shows_every_column_that_a_condition_may_read() -> None:
    in_words = {"draft_id", "completion", "final_text"} | {
        name for name, type in INTERACTION_COLUMNS.items() if type is ValueType.TIME
    }
    assert INTERACTION_COLUMNS.keys() - in_words <= {*explain._MEASURES, *explain_view._FACTS}


def test_a_draft_s_columns_go_all_the_way() -> None:
    for schema in (EVENT_SCHEMA, INTERACTIONS.schema, LABELS.schema):
        assert set(DRAFT_COLUMN_NAMES) <= set(schema.names)
    assert set(TRAINING_COLUMN_NAMES) <= {*COLUMNS} & {*PAIR_COLUMNS}


def test_the_event_form_itself_has_every_column_and_names_it_twice() -> None:
    """Once to be read, and once to be taken out of what has no column."""
    text = (ROOT / "examples" / "sources" / "canonical.sql").read_text(encoding="utf-8")
    for form in ("JSON", "null"):
        assert re.findall(rf'"(\w+)": "?{form}"?', text) == [*MAPPED_COLUMNS], form
