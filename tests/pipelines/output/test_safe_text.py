"""What became of a text, shown word by word, whatever the text is."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import pipelines.output.safe_text
from pipelines.output.safe_text import print_prose, stretches, word_diff
from pipelines.views.plan_page import _parts

WORDS = st.lists(st.sampled_from(["a ", "b ", "b\n", "c  "]), max_size=12)


@pytest.mark.parametrize("most", [4_000, 3])
@given(before=WORDS, after=WORDS)
def test_the_stretches_are_both_texts(before: list[str], after: list[str], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines.output.safe_text, "MOST_ALIGNED", most)
        found = list(stretches(before, after))
    kept_or = {
        side: [word for what, words in found if what in ("kept", side) for word in words]
        for side in ("removed", "added")
    }
    assert [word.rstrip() for word in kept_or["removed"]] == [word.rstrip() for word in before]
    assert kept_or["added"] == after
    order = " ".join(what for what, words in found)
    assert all(words for _, words in found) or most == 3
    assert "added removed" not in order and "kept kept" not in order, (
        "what was removed stands before what took its place"
    )


def test_texts_of_any_length_are_shown_at_once() -> None:
    """Aligned, they would take minutes: the words are in another order."""
    words = [f"w{n % 251}" for n in range(200_000)]
    old, new = " ".join(words), " ".join(reversed(words))
    assert word_diff(old, new, full=True).plain == f"[-{old}-] {{+{new}+}}"
    assert _parts({"completion": old, "final_text": new}) == [("removed", old), ("added", new)]


def test_prose_is_broken_between_words_and_not_in_a_command() -> None:
    out = io.StringIO()
    said = "nothing trains until they are read: `feedback-kto audit review --port 8000` shows them, [bold] and all"
    print_prose(said, Console(file=out, width=30), indent=2)
    assert out.getvalue().splitlines() == [
        "  nothing trains until they",
        "  are read:",
        "  `feedback-kto audit review --port 8000`",
        "  shows them, [bold] and all",
    ]
