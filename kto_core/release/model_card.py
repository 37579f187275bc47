"""The model card: what a release is, made of, and measured to do, for a person."""

from collections.abc import Mapping
from typing import Any

from kto_core.base.objective_registry import OBJECTIVES


def model_card(manifest: Mapping[str, Any]) -> str:
    """Markdown from a release's manifest; a hub reads its header."""
    evaluation, rows, metrics = manifest["evaluation"], manifest["rows"], manifest["metrics"]
    policy, reference, training_set = manifest["policy"], manifest["reference"], manifest["training_set"]
    settings = manifest["hyperparameters"]
    objective = OBJECTIVES[settings.get("objective", "kto")]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        f"tags: [{objective.name}, feedback-kto]",
        "---",
        "",
        f"# {manifest['id']}",
        "",
        f"A support copilot trained by {objective.title} on what agents did with its drafts.",
        "",
        "| made from | |",
        "|---|---|",
        f"| training set | `{training_set['version']}` |",
        f"| label policy | {_named(policy)} |",
        *_audited(manifest.get("audit")),
        f"| reference | `{reference['id']}`, weights `{str(reference['weights_hash'])[:16]}` |",
        f"| rows | {rows['desirable']:,} desirable, {rows['undesirable']:,} undesirable; "
        f"training met {rows['share_seen']:.1%} |",
        f"| {objective.title} | {metrics['steps']} steps, β {settings['beta']}, λ_D {settings['desirable_weight']}, "
        f"λ_U {settings['undesirable_weight']}, {_adapters(settings)} |",
        *_corrected(manifest["noise"], manifest["applied"]),
        f"| in training | {_troubles(manifest['troubles'])} |",
        f"| gate | {_gate(manifest['gate'])} |",
        "",
        *_measured(evaluation),
        "![training curve](curve.png)",
        "",
        "Everything above, and more, is in `manifest.json`.",
        "",
    ]
    return "\n".join(lines)


def _measured(evaluation: Mapping[str, Any]) -> list[str]:
    names = {
        "auc": "AUC",
        "auc_within": "AUC within a category",
        "accuracy": "balanced accuracy",
        "choice_accuracy": "choice accuracy",
    }
    table = [
        f"| {label} | {_figure(evaluation.get(f'{name}_before'))} | {_figure(evaluation.get(f'{name}_after'))} "
        f"| {_figure(evaluation.get(f'{name}_prior'))} |"
        for name, label in names.items()
        if evaluation.get(f"{name}_after") is not None
    ]
    if not table:
        return []
    return [
        f"On {evaluation.get('rows', 0):,} of {evaluation.get('rows_held_out', 0):,} held-out rows; *prior* scores "
        "each reply by how often that very text was good in training.",
        "",
        "| held out | before | after | prior |",
        "|---|---|---|---|",
        *table,
        "",
        f"Reward margin, desirable − undesirable: {_figure(evaluation.get('reward_margin'))}.",
        "",
    ]


def _corrected(noise: Mapping[str, Any] | None, applied: Mapping[str, float] | None) -> list[str]:
    """What a correction for wrong labels made of the λ or of the rows' weights, a line of the table."""
    if not noise or not applied or noise["correction"] == "none":
        return []
    if noise["correction"] == "unbiased":
        right = " and ".join(f"{share:.1%} of the {name}" for name, share in noise["precision"].items())
        how = f"{right} labels are right"
    else:
        kept = [f"{share:.1%} of the {name}" for name, share in noise["weight_kept"].items() if share is not None]
        how = f"{noise['rows_measured']:,} rows count by how sure they are; {' and '.join(kept)} rows' weight is left"
    lambdas = f"λ_D {applied['desirable_weight']:.4g}, λ_U {applied['undesirable_weight']:.4g}"
    return [f"| noise correction | {noise['correction']}: {how}; trained with {lambdas} |"]


def _audited(audit: Mapping[str, Any] | None) -> list[str]:
    """What people found of the labels, a line of the table; and who let them train, where that was not enough."""
    if audit is None or (not audit["asked"] and not any(map(_verdicts, audit["precision"].values()))):
        return ["| audit of the labels | none was asked for |"]
    gate = audit["gate"]
    found = [
        f"{name} {each['precision']:.1%} right (at least {each['low']:.1%}; {_read(each)})"
        for name, each in audit["precision"].items()
        if each["precision"] is not None
    ]
    if audit["simulated"]:
        found.insert(0, "**simulated: nobody gave some of these verdicts**")
    if gate["excluded"]:
        found.append(f"left out, since it failed: {', '.join(gate['excluded'])}")
    lines = [f"| audit of the labels | {'; '.join(found) or 'nothing was read'} |"]
    if override := gate["override"]:
        tiers = ", ".join(override["tiers"]) or "every tier"
        lines.append(
            f"| **audit overridden** | {_cell(override['who'])}, until {override['expires_at'][:10]}, for {tiers}: "
            f"{_cell(override['why'])} |"
        )
    return lines


def _verdicts(found: Mapping[str, Any]) -> int:
    return int(found["read"]) + int(found.get("simulated", 0))


def _read(found: Mapping[str, Any]) -> str:
    """How many rows were read, and how many of the verdicts are nobody's."""
    if "simulated" not in found:  # a training set from before the two were counted apart
        return f"{found['read']:,} rows read"
    simulated = f", {found['simulated']:,} simulated" if found["simulated"] else ""
    return f"{found['read']:,} rows read by people{simulated}"


def _cell(text: str) -> str:
    """Words of a person that may not end a table's cell, or begin markup."""
    return "".join(f"\\{character}" if character in "\\|`*_<>[]!" else character for character in text)


def _figure(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "–"


def _named(policy: Mapping[str, Any]) -> str:
    return (
        f"{policy.get('name')} {policy.get('version') or ''}".strip() + f", digest `{str(policy.get('digest'))[:16]}`"
    )


def _troubles(troubles: Mapping[str, Any]) -> str:
    return "; ".join(f"from step {each['step']:.0f}, {each['what']}" for each in troubles.values()) or "nothing amiss"


def _adapters(settings: Mapping[str, Any]) -> str:
    return f"LoRA rank {settings['lora_rank']}" if settings["lora_rank"] else "all weights"


def _gate(gate: Mapping[str, Any] | None) -> str:
    if gate is None:
        return "none was set"
    return {True: "passed", False: "**not passed**"}.get(gate.get("passed"), "no verdict")  # type: ignore[arg-type]
