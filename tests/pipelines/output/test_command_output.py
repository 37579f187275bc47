"""Commands in what is printed can be typed as they stand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.output.command_output import commands, say_home

SAID = "nothing yet; `feedback-kto run` makes it, `feedback-kto policy plan` shows it"


@pytest.fixture(autouse=True)
def home() -> Iterator[None]:
    say_home(None)  # a test of commands in this process may have set one
    yield
    say_home(None)


def test_commands_name_the_home_that_this_one_was_given() -> None:
    assert commands(SAID) == SAID
    say_home(Path("/srv/my desks"))
    with_home = SAID.replace("feedback-kto ", "feedback-kto --home '/srv/my desks' ")
    assert commands(SAID) == with_home
    assert commands(with_home) == with_home, "once is enough"


def test_what_only_looks_like_a_command_stays() -> None:
    say_home(Path("desks"))
    assert commands("feedback-kto: stopped") == "feedback-kto: stopped"
    assert commands("  feedback-kto relabel   label again") == "  feedback-kto --home desks relabel   label again"
