"""Write the model card of a release for people: its identity, inputs and measurements."""

from collections.abc import Mapping
from typing import Any

from kto_core.base.figures import FIGURES, ROW_FIGURES
from kto_core.base.objective_registry import OBJECTIVES


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return Markdown from a release's manifest; model hubs read its header."""
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
    table = [
        f"| {FIGURES[name].title} | "
        + " | ".join(_figure(evaluation.get(f"{name}_{model}")) for model in ("before", "after", "prior"))
        + " |"
        for name in ROW_FIGURES
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
    """Return a table line on how a noise correction changed λ or the rows' weights."""
    if not noise or not applied or noise["correction"] == "none":
        return []
    if noise["correction"] == "unbiased":
        right = " and ".join(f"{share:.1%} of the {name}" for name, share in noise["precision"].items())
        effect = f"{right} labels are right"
    else:
        kept = [f"{share:.1%} of the {name}" for name, share in noise["weight_kept"].items() if share is not None]
        effect = (
            f"{noise['rows_measured']:,} rows count by how sure they are; {' and '.join(kept)} rows' weight is left"
        )
    lambdas = f"λ_D {applied['desirable_weight']:.4g}, λ_U {applied['undesirable_weight']:.4g}"
    return [f"| noise correction | {noise['correction']}: {effect}; trained with {lambdas} |"]


def _audited(audit: Mapping[str, Any] | None) -> list[str]:
    """Return table lines on the audit of the labels, and on the override that opened its gate, if any."""
    if audit is None or (not audit["asked"] and not any(map(_verdicts, audit["precision"].values()))):
        return ["| audit of the labels | not required |"]
    gate = audit["gate"]
    findings = [
        f"{name} {estimate['precision']:.1%} right (at least {estimate['low']:.1%}; {_read(estimate)})"
        for name, estimate in audit["precision"].items()
        if estimate["precision"] is not None
    ]
    if audit["simulated"]:
        findings.insert(0, "**simulated: some of these verdicts are not from people**")
    if gate["excluded"]:
        findings.append(f"excluded because it failed: {', '.join(gate['excluded'])}")
    lines = [f"| audit of the labels | {'; '.join(findings) or 'nothing was read'} |"]
    if override := gate["override"]:
        tiers = ", ".join(override["tiers"]) or "every tier"
        lines.append(
            f"| **audit overridden** | {_cell(override['who'])}, until {override['expires_at'][:10]}, for {tiers}: "
            f"{_cell(override['why'])} |"
        )
    return lines


def _verdicts(estimate: Mapping[str, Any]) -> int:
    return int(estimate["read"]) + int(estimate.get("simulated", 0))


def _read(estimate: Mapping[str, Any]) -> str:
    """Write the number of rows that people read, and of simulated verdicts."""
    if "simulated" not in estimate:  # older training sets do not count the two separately
        return f"{estimate['read']:,} rows read"
    simulated = f", {estimate['simulated']:,} simulated" if estimate["simulated"] else ""
    return f"{estimate['read']:,} rows read by people{simulated}"


def _cell(text: str) -> str:
    """Escape a person's words so that they cannot end a table cell or start markup."""
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
