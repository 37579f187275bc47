"""Blank text is defined equally everywhere: SQL, Polars and Python agree on every character."""

import sys
import unicodedata
from collections.abc import Callable

import polars as pl
import pyarrow as pa
import pytest

from label_policy import (
    WHITE_SPACE,
    Policy,
    classify_edit,
    classify_edits,
    compile_sent_texts,
    is_blank,
    label_with_polars,
    parse_policy,
    sent_texts_with_polars,
    terms_changed,
)
from tests.label_policy.generated import SCHEMA

EVERY = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
SEPARATORS = [mark for mark in EVERY if unicodedata.category(mark) in ("Cc", "Cf", "Zs", "Zl", "Zp")]
"""All candidates for white space: controls, formats and separators."""

POLICY = """\
name: desk
version: 1
description: A desk.
owner: us
rules:
  - {id: nothing, when: trim(final_text) = '', label: abstain, why: x}
  - {id: x_alone, when: trim(final_text) = 'x', label: abstain, why: x}
sent_text: {when: 'TRUE', tier: weak, weight: 1, why: x}
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(POLICY)


def test_white_space_is_pythons_own() -> None:
    assert set(WHITE_SPACE) == {mark for mark in EVERY if mark.isspace()}
    assert len(WHITE_SPACE) == len(set(WHITE_SPACE))
    assert [mark for mark in EVERY if is_blank(mark) != (not mark.strip())] == []
    assert is_blank("") and is_blank(WHITE_SPACE) and not is_blank(f"{WHITE_SPACE}x{WHITE_SPACE}")


def test_sql_polars_and_python_agree_on_every_separator(
    policy: Policy, decide: Callable, interaction: Callable
) -> None:
    texts = ["", WHITE_SPACE, *SEPARATORS, *(f"{mark}x{mark}" for mark in SEPARATORS)]
    rows = [interaction(draft_id=f"d{at}", final_text=text, edited_at=1) for at, text in enumerate(texts)]
    expected = ["nothing" if is_blank(text) else "x_alone" if text.strip() == "x" else "no_rule" for text in texts]
    assert [row["rule"] for row in decide(policy, rows)] == expected
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    assert label_with_polars(pl.from_arrow(table), policy)["rule"].to_list() == expected
    assert expected.count("nothing") == len(WHITE_SPACE) + 2


def test_what_was_sent_is_no_row_where_it_is_blank(
    policy: Policy, connection, decide: Callable, interaction: Callable
) -> None:
    texts = ["", *WHITE_SPACE, WHITE_SPACE, "x", "\u200b"]
    rows = [interaction(draft_id=f"d{at}", final_text=text, edited_at=1) for at, text in enumerate(texts)]
    decide(policy, rows)  # registers the rows
    made = connection.sql(f"SELECT final_text FROM ({compile_sent_texts(policy)}) ORDER BY draft_id").fetchall()
    frame = sent_texts_with_polars(pl.from_arrow(pa.Table.from_pylist(rows, schema=SCHEMA)), policy)
    assert {text for (text,) in made} == set(frame["final_text"]) == {"x", "\u200b"}


@pytest.mark.parametrize("final", ["", *WHITE_SPACE, WHITE_SPACE], ids=ascii)
def test_an_edit_that_leaves_nothing_is_substantive_whatever_the_terms(final: str) -> None:
    draft, terms = "You get a refund.", ["refund"]
    assert classify_edit(draft, final) == classify_edit(draft, final, terms) == "substantive"
    assert classify_edits([draft], [final], terms).to_pylist() == ["substantive"]
    assert terms_changed([draft], [final], terms).to_pylist() == [False]
    assert classify_edit(final, f" {final}", terms) == "cosmetic"
