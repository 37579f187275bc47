"""Findings about a policy from data: rules that decide nothing on them, signals and texts that no rule reads.

A rule that has not fired yet may still be right, so that is a note, not a warning.
"""

from collections.abc import Iterable

from label_policy.checks.policy_findings import Finding, Level, note, review_policy, signals_read, warning
from label_policy.checks.rule_counts import Coverage, RuleCoverage
from label_policy.policy.model import Policy
from label_policy.schema.columns import columns_of

_MOST_NAMED = 3
"""Maximum number of earlier rules that a sentence names."""


def review_coverage(policy: Policy, coverage: Coverage) -> list[Finding]:
    """Return the findings that `coverage`, measured on interactions, adds to `review_policy`; warnings first."""
    if not coverage.interactions:
        return []
    dead = {rule for finding in review_policy(policy) if finding.kind == "dead_rule" for rule in finding.rules}
    findings = [*_silent_rules(policy, [rule for rule in coverage.rules if rule.rule not in dead], coverage)]
    if coverage.undecided_rankings:
        findings.append(
            warning(
                "undecided_rankings",
                f"{coverage.undecided_rankings:,} of {coverage.rankings:,} texts of rankings are decided by no rule; "
                "add rules that read preferred_at and not_preferred_at (one that abstains, where only the pair counts)",
            )
        )
    unread = set(coverage.signals) - signals_read(policy)
    for signal, count in sorted(coverage.signals.items(), key=lambda item: -item[1]):
        if signal in unread:
            findings.append(
                warning(
                    "unread_signal",
                    f"'{signal}' came on {_interactions(count)} and no rule reads it; "
                    f"read {' or '.join(columns_of(signal))} in a rule if it says something about a draft",
                )
            )
    if policy.sent_text is None and coverage.edited:
        findings.append(
            note(
                "no_sent_text",
                f"{coverage.edited:,} edited drafts hold the text that was sent instead; with a sent_text section, "
                "those texts train too",
            )
        )
    elif policy.sent_text is not None and not coverage.sent_texts:
        findings.append(note("sent_text_unused", f"sent_text makes no row of {coverage.edited:,} edited drafts"))
    return sorted(findings, key=lambda finding: finding.level is Level.NOTE)


def _silent_rules(policy: Policy, rules: list[RuleCoverage], coverage: Coverage) -> Iterable[Finding]:
    """Find rules that decide nothing: other rules decide first, data are missing, or the condition never holds."""
    silent = [rule for rule in rules if not rule.decides]
    for rule in silent:
        if rule.holds:
            yield _shadowed(rule)
    unknown = [rule for rule in silent if rule.unknown == coverage.interactions]
    for rule in unknown:
        [condition] = [other.condition for other in policy.rules if other.id == rule.rule]
        missing = [f"'{signal}'" for signal in sorted(condition.signals - coverage.signals.keys())]
        reason = f"{', '.join(missing)} never came" if missing else "some column that it compares is never filled"
        yield note(
            "always_null",
            f"rule '{rule.rule}' is unknown (NULL) on all of {_interactions(rule.unknown)}: {reason}; "
            "if the log has it, add it to the mapping",
            rule.rule,
        )
    never = [rule.rule for rule in silent if not rule.holds and rule not in unknown]
    if never:
        yield note(
            "not_fired",
            f"not fired on {_interactions(coverage.interactions)} from {coverage.first_shown:%Y-%m-%d} to "
            f"{coverage.last_shown:%Y-%m-%d}: {', '.join(never)}; the rules may still be right",
            *never,
        )


def _interactions(count: int) -> str:
    return f"{count:,} interaction{'s' if count != 1 else ''}"


def _shadowed(rule: RuleCoverage) -> Finding:
    takers = [f"'{other}' ({count:,})" for other, count in rule.taken_by.items()]
    rest = len(takers) - _MOST_NAMED
    taker_list = ", ".join(takers[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return warning(
        "shadowed",
        f"rule '{rule.rule}' holds on {_interactions(rule.holds)} and decides none, "
        f"taken by {taker_list} above it; move it up, narrow those, or remove it",
        rule.rule,
    )
