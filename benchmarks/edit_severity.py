"""Measure how well and how fast `classify_edit` tells kinds of edits apart.

    python benchmarks/edit_severity.py [COAUTHOR_RAW_LOGS]

Prints the confusion matrix of the hand-labelled pairs (tests/label_policy/edits/edit_pairs.jsonl), by part: tuned and
held out.
With the folder of CoAuthor's raw logs it also prints the kinds of its edits with examples, the confusion matrix of the
sixty that were labelled by hand, and the speed: on the edits alone, and within replies of about a hundred words.
"""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from feedback.ingest.map_day import map_day
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source
from label_policy import EditKind, classify_edit, classify_edits

LABELLED = Path(__file__).resolve().parents[1] / "tests" / "label_policy" / "edits"
KINDS = [kind.value for kind in EditKind]

Confusion = Counter[tuple[str, str]]
"""Pairs of a kind as labelled and a kind as classified, counted."""


def labelled_pairs() -> list[dict]:
    """The hand-labelled pairs: `id`, `split` (tuned or heldout), `kind`, `draft`, `final`, `terms`, `note`."""
    return [json.loads(line) for line in (LABELLED / "edit_pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def confusion_of(pairs: Iterable[dict]) -> Confusion:
    return Counter((pair["kind"], str(classify_edit(pair["draft"], pair["final"], pair["terms"]))) for pair in pairs)


def accuracy(confusion: Confusion) -> float:
    return sum(confusion[kind, kind] for kind in KINDS) / confusion.total()


def recall(confusion: Confusion, kind: str) -> float:
    return confusion[kind, kind] / (sum(confusion[kind, other] for other in KINDS) or 1)


def precision(confusion: Confusion, kind: str) -> float:
    return confusion[kind, kind] / (sum(confusion[other, kind] for other in KINDS) or 1)


def matrix(title: str, confusion: Confusion) -> str:
    """The confusion matrix as a Markdown table."""
    rows = [
        f"{title}: {confusion.total()} pairs, accuracy {accuracy(confusion):.3f}\n",
        "| labelled ↓ classified → |" + "".join(f" {kind} |" for kind in KINDS) + " recall | precision |",
        "|---|" + "--:|" * (len(KINDS) + 2),
    ]
    present = [kind for kind in KINDS if any(kind in pair for pair in confusion)]
    for kind in present:
        counts = "".join(f" {confusion[kind, other] or '·'} |" for other in KINDS)
        rows.append(f"| {kind} |{counts} {recall(confusion, kind):.3f} | {precision(confusion, kind):.3f} |")
    return "\n".join(rows)


def coauthor_edits(folder: Path) -> pa.Table:
    """The edited suggestions in CoAuthor's raw logs: `draft_id`, `draft`, `final`."""
    source = load_source("coauthor")
    days = groupby(discover(folder, source), key=lambda file: file.arrival_date)
    columns = ["kind", "draft_id", "completion", "final_text"]
    events = [map_day(source, list(files), input_root=folder).events.select(columns) for _, files in days]
    rows = pa.concat_tables(events).to_pylist()
    drafts = {row["draft_id"]: row["completion"] for row in rows if row["kind"] == "draft_shown"}
    edits = [
        {"draft_id": row["draft_id"], "draft": drafts[row["draft_id"]], "final": row["final_text"]}
        for row in rows
        if row["kind"] == "edited"
    ]
    return pa.Table.from_pylist(edits)


def coauthor_confusion(edits: pa.Table) -> Confusion:
    """The confusion matrix of the labelled sample; its file holds hashes of draft ids and kinds, no text."""
    labels: dict[str, str] = json.loads((LABELLED / "coauthor_kinds.json").read_text(encoding="utf-8"))
    sample = [edit for edit in edits.to_pylist() if _hash(edit["draft_id"]) in labels]
    return confusion_of(edit | {"kind": labels[_hash(edit["draft_id"])], "terms": ()} for edit in sample)


def _hash(draft_id: str) -> str:
    return hashlib.sha256(draft_id.encode()).hexdigest()[:16]


def speed(drafts: Sequence[str], finals: Sequence[str]) -> float:
    """Pairs a second on one core, the best of three."""
    columns = pa.array(drafts), pa.array(finals)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        classify_edits(*columns)
        seconds.append(time.process_time() - start)
    return len(drafts) / min(seconds)


def in_replies(drafts: Sequence[str], finals: Sequence[str]) -> tuple[list[str], list[str]]:
    """The same edits within longer replies: three other drafts before each and three after it."""
    count = len(drafts)
    around = [[drafts[(i * 7 + k * 101) % count] for k in range(1, 7)] for i in range(count)]
    return tuple(
        [" ".join([*others[:3], text, *others[3:]]) for text, others in zip(texts, around, strict=True)]
        for texts in (drafts, finals)
    )


def main() -> None:
    """Print the matrices, and with CoAuthor's logs the kinds and the speed."""
    pairs = labelled_pairs()
    for split in ("tuned", "heldout"):
        print(matrix(f"Written by hand, {split}", confusion_of(pair for pair in pairs if pair["split"] == split)), "\n")
    if len(sys.argv) < 2:
        return
    edits = coauthor_edits(Path(sys.argv[1]))
    print(matrix("CoAuthor, sample", coauthor_confusion(edits)), "\n")
    drafts, finals = edits.column("draft").to_pylist(), edits.column("final").to_pylist()
    kinds = classify_edits(drafts, finals).to_pylist()
    for kind, count in Counter(kinds).most_common():
        print(f"{kind}: {count} of {len(kinds)} edits ({count / len(kinds):.1%})")
        for at in [at for at, other in enumerate(kinds) if other == kind][:3]:
            print(f"    - {drafts[at]!r}\n    + {finals[at]!r}")
    # Repeated, for a measurable time.
    for name, texts in (("as they are", (drafts * 5, finals * 5)), ("in replies", in_replies(drafts * 5, finals * 5))):
        words = sum(len(text.split()) for text in texts[0]) / len(texts[0])
        print(f"edits {name}, {words:.0f} words on average: {speed(*texts):,.0f} pairs a second on one core")


if __name__ == "__main__":
    main()
