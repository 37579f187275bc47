"""Every objective of the registry is complete: a loss with the stated inputs, its settings, its line in the docs."""

import inspect
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kto_core import KTOConfig, PairConfig, TrainingError
from kto_core.__main__ import cli
from kto_core.base.objective_registry import COMPARED, COMPARED_HELP, OBJECTIVES, titles
from kto_core.training.objectives import _RANGES, loss_of

DOCS = Path(__file__).parents[3] / "docs" / "compare.md"


@pytest.mark.parametrize("entry", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_loss_takes_what_its_entry_says(entry):
    takes = dict(inspect.signature(loss_of(entry)).parameters)
    assert ("z0" in takes) == entry.z0
    assert any(name.startswith("reference_") for name in takes) == entry.reference
    assert any(name.endswith("_lengths") for name in takes) == entry.lengths
    assert ("desirable" in takes) == (entry.rows == "singles")
    assert "weights" in takes
    numbers = {name for name in takes if name in _RANGES and not name.endswith("_lengths")} - {"weights", "z0"}
    of_singles = {"beta", "desirable_weight", "undesirable_weight"}
    assert numbers == (set(entry.settings) if entry.rows == "pairs" else of_singles)
    assert numbers <= set(entry.config.model_fields)


@pytest.mark.parametrize("entry", OBJECTIVES.values(), ids=OBJECTIVES)
def test_its_settings_take_it_and_those_of_the_other_rows_do_not(entry):
    other = {KTOConfig: PairConfig, PairConfig: KTOConfig}[entry.config]
    config = entry.config(objective=entry.name)
    assert {name: getattr(config, name) for name in entry.settings} == entry.settings
    with pytest.raises(TrainingError, match=f"{other.__name__}.objective must be one of "):
        other(objective=entry.name)


def test_commands_and_docs_name_every_objective():
    helps = {
        name: CliRunner().invoke(cli, [name, "--help"], env={"COLUMNS": "200"}).output for name in ("train", "compare")
    }
    singles = [name for name, entry in OBJECTIVES.items() if entry.rows == "singles"]
    assert f"--objective [{'|'.join(singles)}]" in helps["train"]
    assert COMPARED_HELP in " ".join(helps["compare"].split())
    text = DOCS.read_text(encoding="utf-8")
    for name, entry in OBJECTIVES.items():
        assert re.search(rf"\b{name}\b", COMPARED_HELP)
        assert f"| `{name}` | {entry.title} |" in text
    assert set(COMPARED) <= set(OBJECTIVES)


def test_titles_read_as_a_text():
    kto, dpo, ipo = (OBJECTIVES[name] for name in ("kto", "dpo", "ipo"))
    assert titles([kto]) == "KTO"
    assert titles([kto, dpo, ipo]) == "KTO, DPO and IPO"
    assert titles([kto], "the reference", last="or") == "KTO or the reference"
