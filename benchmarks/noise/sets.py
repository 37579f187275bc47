"""Training sets of Harbor Support in which a known share of the accepts is wrong, with the audit that measures it.

Harbor's month of logs is labelled as any other. A hash splits its tickets: a tenth is held out, 36 % are careless, and
the rest trains. A wrong accept is a wrong draft to a careless ticket, which an agent sent unread and no customer came
back about. So its row is `accepted`, desirable, strong, with weight 1. It replaces a right accept, and sets differ in
that alone. Other labels are as Harbor's people and the policy make them, and so is how often they are wrong: about one
in six of the undesirable ones.

The audit is honest: a reader who makes no mistake compares `READ` random rows a class with the truth. Precision by
class and by rule comes from those verdicts alone.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.labels import by_us
from feedback.lake.delta import Lake
from feedback.lake.tables import LABELS
from feedback.training_set.rows import training_rows
from harbor import Simulation, simulate
from kto_core.base.store import digest
from kto_core.data.datasets import LABELLED
from label_policy import load_policy, shipped_policies
from label_policy.audits.precision import Estimate, estimate, towards

ACCEPTS, OTHERS, UNDESIRABLE = 1000, 400, 700  # rows of a set: accepts, other desirable ones, undesirable ones
READ = 200  # rows a class that the audit reads
HELD_OUT, CARELESS = 0.1, 0.36  # shares of the tickets; only wrong accepts come from the careless ones
POLICY = "harbor-support.v1"
SIDES = ((True, "desirable"), (False, "undesirable"))

Row = dict[str, Any]


class Desk:
    """A labelled month of Harbor Support with its truth.

    Attributes:
        reference: folder of the copilot that drafted.
        right_accepts, wrong_accepts, others, undesirable: rows that may train, by what they are.
        heldout: every draft of the held-out tickets, labelled by the truth.
        truth: draft → whether it was right.
    """

    def __init__(self, folder: Path) -> None:
        """Simulate and label into `folder`; what is there already is used again."""
        simulated = simulate(Simulation(), out=folder / "simulation", models=folder / "models")
        self.reference = Path(simulated["copilot"])
        policy = load_policy(shipped_policies()[POLICY])
        lake = Lake(folder / "lake")
        if not lake.exists(LABELS):
            by_us.run(Path(simulated["raw"]), folder / "lake", policy, datetime.fromisoformat(simulated["as_of"]))
        self.truth: dict[str, bool] = {
            row["draft_id"]: row["right"]
            for row in pq.read_table(simulated["truth"], columns=["draft_id", "right"]).to_pylist()
        }
        with lake.sql(LABELS) as connection:
            final = training_rows(connection, policy, heldout=0.0, salt="")
            shown = connection.execute(
                "SELECT prompt, completion, category, ticket_id, draft_id AS row_id FROM labels ORDER BY draft_id"
            ).to_arrow_table()
        self._sort([row for row in final.to_pylist() if row["fate"] == "kept"], shown.to_pylist())

    def _sort(self, final: list[Row], shown: list[Row]) -> None:
        mine = [row for row in final if _part(row) == "teaches"]
        accepted = [row for row in mine if row["rule"] == "accepted"]
        self.right_accepts = [row for row in accepted if self.truth[row["row_id"]]]
        self.others = [row for row in mine if row["label"] and row["rule"] != "accepted"]
        self.undesirable = [row for row in mine if not row["label"]]
        self.heldout = [
            {**row, "label": self.truth[row["row_id"]], "weight": 1.0} for row in shown if _part(row) == "held out"
        ]
        sent = {"label": True, "weight": 1.0, "tier": "strong", "rule": "accepted"}
        self.wrong_accepts = [
            {**row, **sent} for row in shown if _part(row) == "careless" and not self.truth[row["row_id"]]
        ]

    def write_set(self, folder: Path, *, wrong: float, seed: int) -> dict[str, Any]:
        """Write the training set in which a share of `wrong` accepts, drawn by `seed`, is wrong; return its manifest.

        Sets of one seed are nested: a higher share replaces more of the same accepts.
        """
        rng = random.Random(f"label noise/{seed}")
        drawn = {name: rng.sample(rows, len(rows)) for name, rows in vars(self).items() if isinstance(rows, list)}
        bad = round(wrong * ACCEPTS)
        rows = [
            *drawn["right_accepts"][: ACCEPTS - bad],
            *drawn["wrong_accepts"][:bad],
            *drawn["others"][:OTHERS],
            *drawn["undesirable"][:UNDESIRABLE],
        ]
        if len(rows) != ACCEPTS + OTHERS + UNDESIRABLE:
            raise ValueError(f"Harbor has too few rows for {wrong:.0%} wrong accepts; simulate more tickets")
        by_class, by_rule = self._audit(rows, rng)
        rows = [{**row, "precision": by_rule.get((row["label"], row["rule"]))} for row in rows]
        for label, side in SIDES:
            (folder / side).mkdir(parents=True, exist_ok=True)
            for split, part in (("train", rows), ("heldout", self.heldout)):
                table = pa.Table.from_pylist([row for row in part if row["label"] is label], schema=LABELLED)
                pq.write_table(table, folder / side / f"{split}-00000.parquet")
        audited = [[row["row_id"], row["label"], row["precision"]] for row in rows]
        manifest = {
            "version": digest({"rows": audited, "heldout": [row["row_id"] for row in self.heldout]})[:16],
            "audit": {"precision": by_class},
            "true_precision": {
                side: statistics.mean(self._agrees(row) for row in rows if row["label"] is label)
                for label, side in SIDES
            },
        }
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        return manifest

    def _agrees(self, row: Row) -> bool:
        return self.truth[row["row_id"]] is row["label"]

    def _audit(
        self, rows: list[Row], rng: random.Random
    ) -> tuple[dict[str, Row], dict[tuple[bool, str], float | None]]:
        """Return precision by class, as in a manifest, and by label and rule, from `READ` rows a class."""
        by_class, by_rule = {}, {}
        for label, side in SIDES:
            mine = [row for row in rows if row["label"] is label]
            read = rng.sample(mine, READ)
            whole = self._estimate(read, of=len(mine))
            by_class[side] = {"precision": whole.precision, "low": whole.low, "high": whole.high, "read": READ}
            for rule, tier in {(row["rule"], row["tier"]) for row in mine}:
                own, wider = (
                    [row for row in read if row[key] == value] for key, value in (("rule", rule), ("tier", tier))
                )
                by_rule[label, rule] = towards(*(self._estimate(part, of=len(mine)) for part in (own, wider)))
        return by_class, by_rule

    def _estimate(self, read: list[Row], *, of: int) -> Estimate:
        """Estimate from the verdicts on `read` the precision of a class of `of` rows, or of a part of it."""
        ones = [1.0] * len(read)
        return estimate(ones, [float(of)] * len(read), [float(self._agrees(row)) for row in read], [True] * len(read))


def _part(row: Row) -> str:
    """Return the part of the desk that the row's ticket belongs to: held out, careless or teaches."""
    hashed = hashlib.blake2b(f"label noise:{row['ticket_id']}".encode(), digest_size=8).digest()
    place = int.from_bytes(hashed, "big") / 2**64
    return "held out" if place < HELD_OUT else "careless" if place < HELD_OUT + CARELESS else "teaches"
