"""Releases: immutable bundles of a candidate with its evidence, and the pointer to the champion.

    releases/<id>/        weights, tokenizer, manifest.json, README.md (model card), curve.png
    releases/champion     JSON: the current release, the earlier ones, and every move

The pointer is one file, replaced by one rename: a reader sees the old champion or the new one.
"""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from kto_core.base.exceptions import TrainingError
from kto_core.base.objective_registry import OBJECTIVES, titles
from kto_core.base.store import digest, publish, read_json, write_json
from kto_core.data.datasets import TrainingSet
from kto_core.release.model_card import model_card

# Files of a model folder that belong to training, not to serving.
NOT_SERVED = ("training.json", "metrics.parquet")


def write_release(
    *,
    candidate: Path,
    training_set: Path,
    evaluation: Mapping[str, object],
    releases: Path,
    gate: Mapping[str, object] | None = None,
    extra: Mapping[str, object] | None = None,
) -> Path:
    """Bundle a candidate; equal candidate, training set, evaluation and gate give the same release, which is reused.

    Args:
        candidate: a model folder that `train_kto` wrote.
        training_set: the training-set folder of the candidate.
        evaluation: the result of `evaluate`.
        releases: folder of releases.
        gate: the gate's results; `passed` (bool) decides whether `promote` accepts the release.
        extra: more for the manifest, such as links or names; JSON values.

    Returns:
        releases/<objective>-<training set>-<content>.

    Raises:
        TrainingError: if the candidate was not trained on single rows of this training set, or a file to bundle is
            missing.
    """
    candidate = Path(candidate)
    training = read_json(candidate / "training.json")
    objective = OBJECTIVES.get(str(training.get("kind")))
    if objective is None or objective.rows != "singles":
        released = titles((other for other in OBJECTIVES.values() if other.rows == "singles"), last="or")
        raise TrainingError(
            f"candidate {candidate.name} was trained by {training.get('kind')}, but only candidates trained by "
            f"{released} are released; give a folder that `train` wrote"
        )
    data = TrainingSet.open(Path(training_set))
    inputs = cast("dict[str, object]", training.get("inputs", {}))
    if inputs.get("training_set") != data.version:
        raise TrainingError(
            f"candidate {candidate.name} was trained on training set {inputs.get('training_set')}, "
            f"not {data.version}; give the training set of the candidate"
        )
    weights = evaluation.get("weights")
    if isinstance(weights, Mapping) and weights.get("candidate") != training["weights_hash"]:
        raise TrainingError(
            f"the evaluation has other weights than candidate {candidate.name}; evaluate the candidate first"
        )
    content: dict[str, object] = {
        "candidate": {"id": training["id"], "weights_hash": training["weights_hash"]},
        "reference": {"id": inputs.get("reference_id"), "weights_hash": inputs.get("reference_weights")},
        "training_set": {"version": data.version, "counts": data.manifest.get("counts")},
        "policy": _policy(data.manifest),
        "audit": data.manifest.get("audit"),
        "hyperparameters": training["config"],
        "applied": training.get("applied"),  # candidates of earlier versions lack it
        "noise": training.get("noise"),
        "rows": training["rows"],
        "metrics": training["metrics"],
        "troubles": training["troubles"],
        "evaluation": dict(evaluation),
        "gate": dict(gate) if gate is not None else None,
        "code_version": training["code_version"],
    }
    release = f"{objective.name}-{data.version[:8]}-{digest(content)[:8]}"
    folder = Path(releases) / release
    if folder.is_dir():
        return folder
    with publish(folder) as scratch:
        for file in sorted(candidate.iterdir()):
            if file.is_file() and file.name not in NOT_SERVED:
                shutil.copy2(file, scratch / file.name)
        # Time and extra entries are not part of the content, so they are not part of the id.
        manifest = {"id": release, "created_at": _now(), **content, "extra": dict(extra or {})}
        write_json(scratch / "manifest.json", manifest)
        (scratch / "README.md").write_text(model_card(manifest))
    return folder


def promote(releases: Path, release: str, *, force: bool = False) -> Path:
    """Make `release` the champion.

    Args:
        releases: folder of releases.
        release: id of the release.
        force: promote even if the gate did not pass.

    Returns:
        The champion's folder.

    Raises:
        TrainingError: if there is no such release, or its gate did not pass.
    """
    folder = Path(releases) / release
    gate = read_json(folder / "manifest.json").get("gate")
    if isinstance(gate, dict) and gate.get("passed") is False and not force:
        raise TrainingError(
            f"release {release} did not pass its gate; release a better candidate, or promote it with --force"
        )
    state = _state(releases)
    current = state["release"]
    if current != release:
        before = [*_names(state["before"]), str(current)] if current else []
        _move(releases, state, "promote", release, before)
    return folder


def rollback(releases: Path) -> Path:
    """Make the previous champion the champion again, and return its folder.

    Raises:
        TrainingError: if there is no previous champion, or it was removed.
    """
    state = _state(releases)
    before = _names(state["before"])
    if not before:
        raise TrainingError(f"{releases} has no earlier champion to go back to")
    folder = Path(releases) / before[-1]
    if not folder.is_dir():
        raise TrainingError(f"the earlier champion {before[-1]} is no longer in {releases}; promote another release")
    _move(releases, state, "rollback", before[-1], before[:-1])
    return folder


def champion(releases: Path) -> Path | None:
    """Return the folder of the champion, or None before the first promotion."""
    release = _state(releases)["release"]
    return Path(releases) / str(release) if release else None


def _state(releases: Path) -> dict[str, object]:
    pointer = Path(releases) / "champion"
    if not pointer.exists():
        return {"release": None, "before": [], "moves": []}
    return read_json(pointer)


def _move(releases: Path, state: dict[str, object], action: str, release: str, before: list[str]) -> None:
    move = {"at": _now(), "action": action, "release": release, "from": state["release"]}
    moves = [*cast("list[object]", state["moves"]), move]
    write_json(Path(releases) / "champion", {"release": release, "before": before, "moves": moves})


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _policy(manifest: Mapping[str, object]) -> dict[str, object]:
    """Return the policy from a manifest: an object, or fields `policy`, `policy_version`, `policy_digest`."""
    named = manifest.get("policy")
    if isinstance(named, dict):
        return dict(named)
    return {"name": named, "version": manifest.get("policy_version"), "digest": manifest.get("policy_digest")}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
