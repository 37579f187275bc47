"""Data Docs: what Great Expectations found, as pages that lie in a folder and ask no other machine.

Its own pages load styles and scripts from half a dozen hosts. These hold the same sections, rendered by it, in a frame
of ours: with a style sheet of our own, without a script, and with a content policy that keeps it so. What they say is
what the frames held: names, flags and counts, no text of a customer's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from feedback.files import write_atomically
from feedback.validation.expectations import Validation
from feedback.validation.suites import SUITES

_KEPT: Final = 100
"""Pages an asset; older ones are deleted. A night makes one, and every late signal that a sensor sees to."""
_MOST_ROWS: Final = 50
_HERE: Final = Path(__file__).parent
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def write_page(folder: Path, validation: Validation, *, parts: str, at: datetime, run_id: str) -> Path:
    """Write the page of a validation under the folder of the Data Docs; returns the page's path.

    Args:
        folder: of the Data Docs; made where it is missing.
        validation: what came of a suite.
        parts: what was validated, as a person would name it: some days, or a training set.
        at: aware datetime: when.
        run_id: of the run that validated.

    """
    asset = validation.suite.asset
    (folder / asset).mkdir(parents=True, exist_ok=True)
    page = folder / asset / f"{at:%Y-%m-%dT%H-%M-%S}Z_{run_id[:8]}.html"
    text = _template("page.html.j2").render(
        suite=validation.suite,
        parts=parts,
        at=at,
        run_id=run_id,
        failed=[*validation.failed("critical"), *validation.failed("warning")],
        sections=_sections(validation),
        most=_MOST_ROWS,
        policy=_POLICY,
        style=_style(),
    )
    write_atomically(page, text)
    for old in sorted((folder / asset).glob("*.html"))[:-_KEPT]:
        old.unlink(missing_ok=True)
    return page


def write_index(folder: Path, runs: Sequence[dict[str, Any]]) -> Path:
    """Write the index of the validations whose pages are there; returns its path.

    Args:
        folder: of the Data Docs.
        runs: the validations as `feedback.validation.record.by_page` gives them.

    """
    there = [run for run in runs if (folder / run["page"]).is_file()]
    index = folder / "index.html"
    text = _template("index.html.j2").render(runs=there, suites=SUITES.values(), policy=_POLICY, style=_style())
    write_atomically(index, text)
    return index


def _sections(validation: Validation) -> list[str]:
    """GX's own rendering of each expectation, without its overview, which says nothing of ours."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    _, *sections = ValidationResultsPageRenderer().render(validation.result).sections
    rendered = (
        _view().render({"section": section.to_json_dict(), "section_loop": {"index": number}})
        for number, section in enumerate(sections)
    )
    return [re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL) for text in rendered]


@cache
def _view() -> Any:  # noqa: ANN401 - of a library without types
    """GX's view of a section, whose templates it compiles once a view."""
    from great_expectations.render.view.view import DefaultJinjaSectionView

    return DefaultJinjaSectionView()


@cache
def _style() -> str:
    return (_HERE / "data_docs.css").read_text(encoding="utf-8")


@cache
def _template(name: str) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(_HERE)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(name)
