import json
import shutil

import pytest

from kto_core import KTOConfig, TrainingError, champion, promote, rollback, train_kto, write_release
from kto_core.models.model_folders import load, weights_hash

EVALUATION = {"rows": 10, "rows_held_out": 12, "auc_before": 0.5, "auc_after": 0.75, "auc_prior": None}


@pytest.fixture(scope="module")
def candidate(reference, training_set, tmp_path_factory):
    home = tmp_path_factory.mktemp("release")
    config = KTOConfig(max_steps=1, batch_groups=1)
    return train_kto(reference=reference, training_set=training_set, config=config, store=home, cache=home / "cache")


@pytest.fixture
def release(candidate, training_set, tmp_path):
    def make(**more):
        given = {"evaluation": EVALUATION} | more
        return write_release(candidate=candidate, training_set=training_set, releases=tmp_path / "releases", **given)

    return make


def test_a_release_holds_what_serves_and_what_vouches(release, candidate, reference):
    folder = release(gate={"passed": True}, extra={"run": "nightly"})
    assert load(folder)[0].config.vocab_size > 0
    assert weights_hash(folder) == weights_hash(candidate)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["id"] == folder.name
    assert manifest["training_set"]["version"] == "0123456789abcdef"
    assert manifest["policy"] == {"name": "toy", "version": 3, "digest": "d" * 64}
    assert manifest["reference"] == {"id": reference.name, "weights_hash": weights_hash(reference)}
    assert manifest["evaluation"] == EVALUATION
    assert manifest["hyperparameters"]["beta"] == 0.1
    assert manifest["extra"] == {"run": "nightly"}
    card = (folder / "README.md").read_text()
    assert "| AUC | 0.500 | 0.750 | – |" in card
    assert "curve.png" in card
    assert (folder / "curve.png").exists()
    assert not (folder / "training.json").exists()


def audited(**gate):
    read = {"precision": 0.9253, "low": 0.88, "high": 0.95, "read": 150, "simulated": 50}
    return {
        "asked": True,
        "simulated": True,
        "precision": {"desirable": read, "undesirable": {"precision": None, "low": None, "high": None, "read": 0}},
        "gate": {"passed": True, "excluded": [], "override": None} | gate,
    }


def test_the_card_says_what_people_found_and_who_overrode_it(release, training_set):
    place = training_set / "manifest.json"
    plain = place.read_text()
    assert "| audit of the labels | not required |" in (release() / "README.md").read_text()
    override = {"who": "Ann | <b>", "why": "the *launch*", "expires_at": "2026-03-09T12:00:00+00:00", "tiers": []}
    try:
        place.write_text(json.dumps(json.loads(plain) | {"audit": audited(excluded=["weak"], override=override)}))
        folder = release()
    finally:
        place.write_text(plain)
    card = (folder / "README.md").read_text()
    assert (
        "| audit of the labels | **simulated: some of these verdicts are not from people**; desirable 92.5% right "
        "(at least 88.0%; 150 rows read by people, 50 simulated); excluded because it failed: weak |"
    ) in card
    assert r"| **audit overridden** | Ann \| \<b\>, until 2026-03-09, for every tier: the \*launch\* |" in card
    assert json.loads((folder / "manifest.json").read_text())["audit"]["gate"]["override"] == override


@pytest.mark.parametrize(
    ("noise", "effect"),
    [
        (
            {"correction": "unbiased", "precision": {"desirable": 0.7, "undesirable": 0.9}},
            "unbiased: 70.0% of the desirable and 90.0% of the undesirable labels are right",
        ),
        (
            {"correction": "weight", "rows_measured": 1200, "weight_kept": {"desirable": 0.4, "undesirable": None}},
            "weight: 1,200 rows count by how sure they are; 40.0% of the desirable rows' weight is left",
        ),
        ({"correction": "none"}, None),
        (None, None),
    ],
)
def test_the_card_says_what_a_correction_for_wrong_labels_applied(candidate, training_set, tmp_path, noise, effect):
    training = json.loads((candidate / "training.json").read_text())
    corrected = shutil.copytree(candidate, tmp_path / "candidate")
    applied = {"desirable_weight": 1.25, "undesirable_weight": 2.34567} if noise else None
    (corrected / "training.json").write_text(json.dumps(training | {"noise": noise, "applied": applied}))
    folder = write_release(candidate=corrected, training_set=training_set, evaluation=EVALUATION, releases=tmp_path)
    card = (folder / "README.md").read_text()
    assert "λ_D 1.0, λ_U 1.8, all weights |" in card, "what was asked for"
    line = f"| noise correction | {effect}; trained with λ_D 1.25, λ_U 2.346 |"
    assert (line in card) if effect else ("noise correction" not in card)
    assert json.loads((folder / "manifest.json").read_text())["noise"] == noise


def test_the_same_content_is_the_same_release(release):
    first = release()
    assert release() == first
    assert release(evaluation=EVALUATION | {"auc_after": 0.8}) != first
    assert first.name.startswith("kto-01234567-")


def test_promotion_and_rollback_move_one_pointer(release, tmp_path):
    releases = tmp_path / "releases"
    assert champion(releases) is None
    first, second, third = (release(evaluation=EVALUATION | {"auc_after": auc}) for auc in (0.6, 0.7, 0.8))
    for folder in (first, second, third, third):
        assert promote(releases, folder.name) == folder
        assert champion(releases) == folder
    assert rollback(releases) == second
    assert rollback(releases) == first
    assert champion(releases) == first
    with pytest.raises(TrainingError, match="no earlier champion"):
        rollback(releases)
    moves = json.loads((releases / "champion").read_text())["moves"]
    assert [move["action"] for move in moves] == ["promote"] * 3 + ["rollback"] * 2


def test_a_failed_gate_keeps_a_release_from_service(release, tmp_path):
    folder = release(gate={"passed": False})
    with pytest.raises(TrainingError, match="did not pass its gate"):
        promote(tmp_path / "releases", folder.name)
    assert champion(tmp_path / "releases") is None
    assert promote(tmp_path / "releases", folder.name, force=True) == folder


def test_what_is_missing_is_named(release, candidate, tmp_path, training_set):
    release()
    with pytest.raises(TrainingError, match=r"manifest.json does not exist"):
        promote(tmp_path / "releases", "kto-unknown")
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text('{"version": "fedcba"}')
    with pytest.raises(TrainingError, match="was trained on training set 0123456789abcdef, not fedcba"):
        write_release(candidate=candidate, training_set=other, evaluation={}, releases=tmp_path / "releases")
    with pytest.raises(TrainingError, match=r"training.json does not exist"):
        write_release(candidate=tmp_path, training_set=training_set, evaluation={}, releases=tmp_path / "releases")


def test_an_interrupted_write_leaves_nothing(release, tmp_path, monkeypatch):
    monkeypatch.setattr("kto_core.release.bundle.model_card", lambda manifest: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        release()
    assert list((tmp_path / "releases").iterdir()) == []


def test_only_what_kto_trained_is_released(candidate, training_set, tmp_path):
    folder = tmp_path / "dpo-1"
    folder.mkdir()
    training = json.loads((candidate / "training.json").read_text())
    training = {name: value for name, value in training.items() if name not in ("rows", "troubles")}
    (folder / "training.json").write_text(json.dumps(training | {"kind": "dpo"}))
    with pytest.raises(TrainingError, match="dpo-1 was trained by dpo, but only candidates trained by KTO"):
        write_release(candidate=folder, training_set=training_set, evaluation={}, releases=tmp_path / "releases")
