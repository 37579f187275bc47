"""Export of the sample and import of verdicts: no label goes out, and each row of the import is checked."""

import csv
import json
import os
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.audits.blind_rows import Sample, row_key
from feedback.audits.sample_export import defuse, export_rows, label_config, people_verdicts, restore
from feedback.audits.verdict_import import Imported, import_verdicts
from feedback.audits.verdicts import REASONS, Verdict, append_verdicts, current_verdicts
from feedback.exceptions import FeedbackError
from feedback.lake.delta import Lake
from feedback.lake.tables import AUDIT_SAMPLE, VERDICTS
from tests.feedback.labelled import label, put

FORMULAS = ('=HYPERLINK("http://x")', "+1", "-1", "@x", "\t=1", "\r=1", "＝1", "'=1", "''+1")


@pytest.fixture
def sample(lake: Lake) -> Sample:
    texts = {"d1": '=cmd|"/C calc"!A1', "d2": '\'=x; "quoted"\nnext, line', "d3": "plain"}
    drafts = [label(name, completion=text, final_text="sent", ticket_id="@t") for name, text in texts.items()]
    put(
        lake,
        *drafts,
        label("d3#sent", completion="sent", prompt=[], rule="sent_text", label="undesirable"),
        sampled=True,
    )
    return Sample(lake)


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(
    path: Path,
    cells_by_row: dict[str, dict[str, str]],
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    suffix: str = ".csv",
) -> Path:
    """Fill in an export as people do: verdicts by row, with texts that a spreadsheet may have cut."""
    rows = cells(path)
    for row in rows:
        row |= {"reply": row["reply"][:10], **cells_by_row.get(row["row"], {}), "a, b; c, d": "ours", "e, f, " * 9: ""}
    filled = path.with_name(f"filled{suffix}")
    with filled.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return filled


def given_by(lake: Lake, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in current_verdicts(lake).to_pylist()]


def test_a_csv_runs_nothing_and_tells_nothing(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert export_rows(sample, sample, path) == [path]
    rows = cells(path)
    assert [row["row"] for row in rows] == list(sample)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())
    assert [restore(row["reply"]) for row in rows] == [sample.question(key).text for key in sample]
    text = path.read_text(encoding="utf-8-sig")
    for secret in ("accepted", "sent_text", "strong", "desirable", "d3#sent", '"p"'):
        assert secret not in text


@given(st.one_of(st.sampled_from(FORMULAS), st.text(st.sampled_from("'=+-@\t\r\n ＝ax"), max_size=8), st.text()))
def test_what_is_defused_is_restored_exactly(cell: str) -> None:
    assert restore(defuse(cell)) == cell
    assert not defuse(cell).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@pytest.mark.parametrize(
    ("delimiter", "encoding", "suffix"),
    [(",", "utf-8", ".csv"), (";", "utf-8-sig", ".csv"), ("\t", "utf-16", ".txt"), ("\t", "utf-8", ".TSV")],
)
def test_verdicts_come_back_from_a_spreadsheet(
    lake: Lake, sample: Sample, tmp_path: Path, delimiter: str, encoding: str, suffix: str
) -> None:
    export_rows(sample, sample, tmp_path / "rows.csv")
    filled_in = {
        row_key("d1"): {"verdict": "Desirable ", "reviewer": " Ann "},
        row_key("d2"): {"verdict": "can't tell", "reason": "Wrong routing", "note": "'=1+1", "reviewer": "bob"},
    }
    filled = fill(tmp_path / "rows.csv", filled_in, delimiter=delimiter, encoding=encoding, suffix=suffix)
    done = import_verdicts(lake, filled)
    assert (done.recorded, done.known, done.blank, done.refused, done.aside) == (2, 0, 2, (), None)
    assert given_by(lake, "draft_id", "reviewer", "verdict", "reason", "note", "origin") == [
        ("d1", "Ann", "desirable", None, None, "import"), ("d2", "bob", "unsure", "wrong_routing", "=1+1", "import"),
    ]  # fmt: skip
    again = import_verdicts(lake, filled)
    assert (again.recorded, again.known) == (0, 2) and lake.dataset(VERDICTS).count_rows() == 2


def test_what_was_said_since_is_not_undone_by_the_same_file(lake: Lake, sample: Sample, tmp_path: Path) -> None:
    export_rows(sample, sample, tmp_path / "rows.csv")
    filled = fill(tmp_path / "rows.csv", {row_key("d1"): {"verdict": "desirable"}})
    assert import_verdicts(lake, filled, reviewer="Ann").recorded == 1
    append_verdicts(lake, [Verdict(draft_id="d1", reviewer="Ann", verdict="undesirable")], origin="review")
    again = import_verdicts(lake, filled, reviewer="ann")  # who is the same person
    assert (again.recorded, again.known, again.changed) == (0, 1, 1)
    assert given_by(lake, "reviewer", "verdict") == [("Ann", "undesirable")]


def first_words(done: Imported) -> list[tuple[str, ...]]:
    return [(row.where, *(fault.split(";")[0][:30] for fault in row.faults)) for row in done.refused]


def test_every_fault_of_every_row_is_named(lake: Lake, sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    digests = {draft: sample.question(row_key(draft)).digest for draft in ("d1", "d2", "d3")}
    lines = [
        "verdict,row,text_digest,reviewer,reason,note",
        f'desirable,{row_key("d1")},{digests["d1"]},Ann,,"two\nlines"',
        f"good,{row_key('d2')},{digests['d1']},simulated 1,because,",
        f"desirable,{row_key('d2')},{digests['d1']},Ann,,",
        "desirable,nowhere,,,,",
        f"withdrawn,{row_key('d2')},{digests['d2']},Ann,,",
        f",{row_key('d2')},{digests['d2']},Ann,,forgotten",
        f"undesirable,{row_key('d1')},{digests['d1']},ANN,,",
        f"desirable,{row_key('d3')},{digests['d3']},Ann,,a,b",
        f",{row_key('d3')},,Ann,,",
    ]
    path.write_text("\n".join(lines))
    done = import_verdicts(lake, path)
    assert (done.recorded, done.known, done.blank) == (1, 0, 1)
    other = f"the text of row {row_key('d2')}"[:30]
    assert first_words(done) == [
        ("line 4 (row 3 of the sheet)", "its verdict is 'good'", "its reason is 'because'", other,
         "its reviewer is 'simulated 1',"),
        ("line 5 (row 4 of the sheet)", other),
        ("line 6 (row 5 of the sheet)", "row 'nowhere' is not in the au", "it has no reviewer"),
        ("line 7 (row 6 of the sheet)", "its verdict is 'withdrawn'"),
        ("line 8 (row 7 of the sheet)", "it has a reason or a note but "),
        ("line 9 (row 8 of the sheet)", "Ann has another verdict on the"),
        ("line 10 (row 9 of the sheet)", "it has 7 cells and the first l"),
    ]  # fmt: skip
    assert all(fault.count(";") == 1 for row in done.refused for fault in row.faults)


def test_rows_that_are_refused_lie_beside_to_be_mended(lake: Lake, sample: Sample, tmp_path: Path) -> None:
    export_rows(sample, sample, tmp_path / "rows.csv")
    filled_in = {
        row_key("d1"): {"verdict": "good", "note": "=1", "reviewer": ""},
        row_key("d3"): {"verdict": "desirable"},
    }
    filled = fill(tmp_path / "rows.csv", filled_in, delimiter=";", encoding="utf-16")
    before = filled.read_bytes()
    done = import_verdicts(lake, filled)
    assert done.recorded == 0 and done.aside == tmp_path / "filled.refused.csv"
    aside = done.aside.read_text(encoding="utf-8-sig")
    assert aside.startswith('"refused";"row";"text_digest";') and aside.count("it has no reviewer") == 2
    assert import_verdicts(lake, filled).aside == done.aside  # the same rows again are the same file
    done.aside.write_text(aside.replace('"good";', '"undesirable";'), encoding="utf-8-sig")
    mended = import_verdicts(lake, done.aside, reviewer="Ann")
    assert (mended.recorded, mended.refused) == (2, ())
    assert given_by(lake, "draft_id", "verdict", "note") == [("d1", "undesirable", "=1"), ("d3", "desirable", None)]
    # A file that somebody has corrected is never overwritten, and a row that is refused twice holds the reason once.
    assert import_verdicts(lake, filled).aside == tmp_path / "filled.refused-2.csv"
    (tmp_path / "filled.refused.csv").write_text(aside.replace('"good";', '"bad";'), encoding="utf-8")
    twice = import_verdicts(lake, tmp_path / "filled.refused.csv", reviewer="Bob")
    assert twice.recorded == 1 and twice.aside == tmp_path / "filled.refused-3.csv"
    text = twice.aside.read_text(encoding="utf-8-sig")
    assert "'bad'" in text and "'good'" not in text and "no reviewer" not in text
    assert filled.read_bytes() == before


def test_where_refused_rows_go_can_be_chosen(lake: Lake, sample: Sample, tmp_path: Path) -> None:
    export_rows(sample, sample, tmp_path / "rows.csv")
    filled_in = {row_key("d1"): {"verdict": "desirable", "reviewer": "Ann"}, row_key("d2"): {"verdict": "good"}}
    filled, taken, free = fill(tmp_path / "rows.csv", filled_in), tmp_path / "rows.csv", tmp_path / "free"
    with pytest.raises(FeedbackError, match="exists already; name another file"):
        import_verdicts(lake, filled, refused=taken)
    assert given_by(lake, "draft_id") == []  # nothing is kept before what is refused is safe
    done = import_verdicts(lake, filled, refused=free)
    assert (done.recorded, done.aside) == (1, free) and len(cells(free)) == 1


def test_a_text_that_changed_is_read_again(lake: Lake, sample: Sample, tmp_path: Path) -> None:
    export_rows(sample, sample, tmp_path / "rows.csv")
    filled = fill(tmp_path / "rows.csv", {row_key("d1"): {"verdict": "desirable"}})
    rows = lake.dataset(AUDIT_SAMPLE).to_table().to_pylist()
    lake.replace(AUDIT_SAMPLE, pa.Table.from_pylist([row | {"completion": "new"} for row in rows], AUDIT_SAMPLE.schema))
    done = import_verdicts(lake, filled, reviewer="Ann")
    assert done.recorded == 0 and "export the row again" in done.refused[0].faults[0]


def annotated(task: dict[str, Any], verdict: str, **annotation: Any) -> dict[str, Any]:
    """A task as Label Studio exports it."""
    result = [{"from_name": "verdict", "to_name": "reply", "type": "choices", "value": {"choices": [verdict]}}]
    return {**task, "id": 7, "annotations": [{"id": 1, "result": result, "lead_time": 4.5, **annotation}]}


def test_label_studio_gets_tasks_and_gives_annotations(lake: Lake, sample: Sample, tmp_path: Path) -> None:
    path, config = export_rows(sample, sample, tmp_path / "tasks.json")
    shown = {element.get("value", "")[1:] for element in ElementTree.fromstring(config.read_text()).iter()}
    tasks = json.loads(path.read_text())
    assert config.read_text() == label_config() and {"conversation", "reply", "beside", "signals"} <= shown
    assert all({"row", "text_digest", *filter(None, ("reply",))} <= task["data"].keys() for task in tasks)
    assert tasks[0]["data"]["reply"] == '=cmd|"/C calc"!A1'  # no spreadsheet reads this
    assert "sent_text" not in path.read_text() and "strong" not in path.read_text()
    more = [
        {"from_name": "verdict", "value": {"choices": ["undesirable"]}},
        {"from_name": "reason", "value": {"choices": ["tone"]}},
        {"from_name": "note", "value": {"text": ["one", "two"]}},
    ]
    tasks = [
        annotated(tasks[0], "desirable", completed_by={"id": 1, "email": "ann@example.org"}),
        annotated(tasks[1], "desirable", completed_by=3, result=more),
        annotated(tasks[2], "desirable", was_cancelled=True),
        tasks[3],
        {"id": 1, "verdict": "desirable"},
    ]
    path.write_text(json.dumps(tasks))
    done = import_verdicts(lake, path)
    assert (done.recorded, done.blank) == (2, 2) and done.refused[0].where == "task 5"
    assert given_by(lake, "draft_id", "reviewer", "verdict", "reason", "note", "seconds") == [
        ("d1", "ann@example.org", "desirable", None, None, 4.5),
        ("d2", "Label Studio user 3", "undesirable", "tone", "one\ntwo", 4.5),
    ]
    assert import_verdicts(lake, path).known == 2


def test_refused_tasks_lie_beside_to_be_mended(lake: Lake, sample: Sample, tmp_path: Path) -> None:
    path, _ = export_rows(sample, sample, tmp_path / "tasks.json")
    first, second, *_ = json.loads(path.read_text())
    both = annotated(first, "desirable", completed_by=1)
    wrong = {**both["annotations"][0], "lead_time": "long", "result": [{"from_name": "verdict", "value": "\ud800"}]}
    path.write_text(json.dumps([{**both, "annotations": [*both["annotations"], wrong]}, 5]))
    done = import_verdicts(lake, path)
    assert done.recorded == 1
    assert first_words(done) == [
        ("task 1, annotation 2", "its verdict is '\\ud800'", "its lead_time is 'long'"),
        ("task 2", "it is no task of `feedback-kto"),
    ]
    assert done.aside == tmp_path / "tasks.refused.json"
    task, five = json.loads(done.aside.read_text())
    assert (task["annotations"], task["data"]) == ([wrong], first["data"]) and five["task"] == 5
    assert len(task["refused"]) == 2 and len(five["refused"]) == 1
    done.aside.write_text(json.dumps([annotated(second, "unsure", completed_by=2) | {"refused": ["once"]}]))
    assert import_verdicts(lake, done.aside).recorded == 1


EXPORTED = Path(__file__).with_name("label_studio")


@pytest.mark.parametrize("name", ["export.json", "export_min.json", "export.csv", "export.tsv"])
def test_what_a_real_label_studio_exports_is_read(lake: Lake, sample: Sample, tmp_path: Path, name: str) -> None:
    """Label Studio 1.23.2 was given `sample`'s tasks, with Carla's verdict as an annotation, and was annotated."""
    path = tmp_path / name
    path.write_bytes((EXPORTED / name).read_bytes())
    done = import_verdicts(lake, path)
    assert (done.recorded, done.known, done.refused) == (4, 0, ())
    assert given_by(lake, "draft_id", "reviewer", "verdict", "reason", "note", "seconds") == [
        ("d1", "Label Studio user 1", "desirable", None, None, 4.5),
        ("d1", "Label Studio user 2", "undesirable", "wrong_routing", "'=1+1\nzweite Zeile, „falsch“", 12.25),
        ("d2", "Label Studio user 1", "unsure", None, None, None),
        ("d3#sent", "Carla", "undesirable", "tone", "Brüsk.\n=1+1", 2.5),
    ]
    for other in EXPORTED.iterdir():
        path = tmp_path / other.name
        path.write_bytes(other.read_bytes())
        again = import_verdicts(lake, path)
        assert (again.recorded, again.known, again.refused) == (0, 4, ())


@pytest.mark.parametrize("name", ["all.csv", "all.json"])
def test_what_people_said_goes_along_and_adds_nothing(lake: Lake, sample: Sample, tmp_path: Path, name: str) -> None:
    verdicts = [
        Verdict(draft_id="d1", reviewer="Ann", verdict="undesirable", reason="tone", note=" =1\r\n", seconds=3.5),
        Verdict(draft_id="d1", reviewer="=Bob  Two", verdict="desirable"),
        Verdict(draft_id="d3#sent", reviewer="Ann", verdict="desirable"),
    ]
    append_verdicts(lake, verdicts, origin="review")
    append_verdicts(lake, [Verdict(draft_id="d2", reviewer="simulated 1", verdict="desirable")], origin="simulated")
    path = tmp_path / name
    export_rows(sample, sample, path, verdicts=people_verdicts(lake, sample))
    text = path.read_text()
    assert "simulated" not in text and "sent_text" not in text and "strong" not in text
    if path.suffix == ".csv":  # rows that lack readers are there to be filled in
        assert [row["verdict"] for row in cells(path)] == ["desirable", "undesirable", "", "", "desirable"]
    done = import_verdicts(lake, path)
    assert (done.recorded, done.known, done.changed, done.blank, done.refused) == (0, 3, 0, 2, ())
    append_verdicts(lake, [Verdict(draft_id="d1", reviewer="Ann", verdict="withdrawn")], origin="review")
    done = import_verdicts(lake, path)  # an old file undoes nothing
    assert (done.recorded, done.known, done.changed) == (0, 3, 1)
    assert given_by(lake, "draft_id", "reviewer") == [
        ("d1", "=Bob  Two"), ("d2", "simulated 1"), ("d3#sent", "Ann"),
    ]  # fmt: skip


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(("data", "annotations", "result", "value", "choices", "from_name", "completed_by", "row")),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Path]:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    put(lake, label("d1"), sampled=True)
    return lake, tmp_path_factory.mktemp("files") / "any.json"


@settings(max_examples=20, deadline=None)
@given(st.lists(_JSON, max_size=8))
def test_no_json_breaks_the_import(once: tuple[Lake, Path], tasks: list[Any]) -> None:
    lake, path = once
    path.write_text(json.dumps(tasks))
    done = import_verdicts(lake, path)
    assert done.recorded == 0 and done.blank + len(done.refused) >= len(tasks)


_SAID = st.fixed_dictionaries(
    {
        "verdict": st.sampled_from(("desirable", "undesirable", "unsure")),
        "reason": st.sampled_from((None, *REASONS)),
        "note": st.one_of(
            st.none(), st.sampled_from(FORMULAS), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
        ),
    }
)


@settings(max_examples=5, deadline=None)
@given(st.lists(_SAID, min_size=10, max_size=40), st.sampled_from(("csv", "json")), st.uuids())
def test_a_round_trip_keeps_every_verdict(
    once: tuple[Lake, Path], given: list[dict[str, str | None]], suffix: str, round: UUID
) -> None:
    lake, folder = once[0], once[1].parent
    path = folder / f"round.{suffix}"
    export_rows(Sample(lake), [row_key("d1")], path)
    named = [{**said, "reviewer": f"{round} {number}"} for number, said in enumerate(given)]
    (_fill_csv if suffix == "csv" else _fill_json)(path, named)
    assert import_verdicts(lake, path).recorded == len(named)
    sample = Sample(lake)
    export_rows(sample, sample, path, verdicts=people_verdicts(lake, sample))
    again = import_verdicts(lake, path)
    assert (again.recorded, again.changed, again.refused) == (0, 0, ()) and again.known >= len(named)
    stands = {row["reviewer"]: row for row in current_verdicts(lake).to_pylist()}
    for said in named:
        row = stands[said["reviewer"]]
        assert (row["verdict"], row["reason"], row["note"]) == (
            said["verdict"], said["reason"], (said["note"] or "").strip() or None
        )  # fmt: skip


def _fill_csv(path: Path, named: list[dict[str, str | None]]) -> None:
    [row] = cells(path)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        writer.writeheader()
        writer.writerows({**row, **{field: defuse(value or "") for field, value in said.items()}} for said in named)


def _fill_json(path: Path, named: list[dict[str, str | None]]) -> None:
    [task] = json.loads(path.read_text())
    annotations = []
    for said in named:
        result = [{"from_name": "note", "value": {"text": [said["note"] or ""]}}]
        fields = [field for field in ("verdict", "reason") if said[field]]
        result += [{"from_name": field, "value": {"choices": [said[field]]}} for field in fields]
        annotations.append({"result": result, "completed_by": said["reviewer"]})
    path.write_text(json.dumps([{**task, "annotations": annotations}]))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.xlsx", b"", "neither a .csv (.tsv, .txt) nor a .json"),
        ("nowhere.csv", None, "cannot be read (No such file"),
        ("rows.csv", b"row,verdict\n", "has no column text_digest"),
        ("rows.csv", b"", "has no column row"),
        ("rows.csv", b"row\xff", "is no UTF-8 text (byte 3)"),
        ("rows.csv", b"\xff\xfer", "is no UTF-16 text"),
        ("tasks.json", b"[1%s]" % (b"0" * 5000), "cannot be read as JSON"),
        ("tasks.json", b"{", "cannot be read as JSON"),
        ("tasks.json", b"[" * 200_000, "cannot be read as JSON"),
        ("tasks.json", b"{}", "holds no list of tasks"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_sentence(
    lake: Lake, sample: Sample, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FeedbackError) as error:
        import_verdicts(lake, tmp_path / name)
    assert said in str(error.value) and str(tmp_path / name) in str(error.value) and os.linesep not in str(error.value)
