"""Data Docs: the results of Great Expectations as pages in a folder, which load nothing from other machines.

Its own pages load styles and scripts from half a dozen hosts. Our pages hold the same rendered sections with our own
style sheet, without scripts, and with a content security policy that forbids them. They show only the frames' content:
names, flags and counts, and no text of a customer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from feedback.atomic_files import write_atomically
from feedback.validation.expectations import Validation
from feedback.validation.suites import SUITES

_KEPT: Final = 100
"""Pages per asset; older ones are deleted. Each night writes one, and so does each run that a sensor starts."""
_MOST_ROWS: Final = 50
_HERE: Final = Path(__file__).parent
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def write_page(folder: Path, validation: Validation, *, parts: str, at: datetime, run_id: str) -> Path:
    """Write the page of a validation under the folder of the Data Docs; return the page's path.

    Args:
        folder: folder of the Data Docs; created if it is missing.
        validation: the results of a suite.
        parts: the validated days or training set, in words for people.
        at: aware datetime of the validation.
        run_id: id of the run that validated.

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
    """Write the index of the validations whose pages exist; return its path.

    Args:
        folder: folder of the Data Docs.
        runs: the validations, as from `feedback.lake.validation_log.by_page`.

    """
    with_page = [run for run in runs if (folder / run["page"]).is_file()]
    index = folder / "index.html"
    text = _template("index.html.j2").render(runs=with_page, suites=SUITES.values(), policy=_POLICY, style=_style())
    write_atomically(index, text)
    return index


def _sections(validation: Validation) -> list[str]:
    """Return GX's own rendering of each expectation, without its overview, which shows no rule of ours."""
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
