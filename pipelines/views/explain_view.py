"""Print why a row has its label, for `feedback-kto policy explain`: the label first, then its sources.

Texts come from customers, agents and logs. Each passes through `visible`, and none is read as markup.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from feedback.history.explain import Explanation, RowLabel
from feedback.lake.event_schema import SENT_SUFFIX
from feedback.training_set.rows import Fate
from label_policy import CLASSES, DRAFT_COLUMN_NAMES, SENT_TEXT, Label, Policy, State
from label_policy.engines.trace import Part, RuleTrace
from pipelines.output.command_output import commands
from pipelines.output.safe_text import print_trimmed, shorten, visible, word_diff
from pipelines.output.styles import LABEL_STYLES
from pipelines.views.explain_audit import gate_lines, show_verdicts
from pipelines.views.timeline_view import measures_line, show_timeline, waiting_for

_MOST_MESSAGES = 4
_MOST_CHARACTERS = 600
_LABEL_STYLES = {**LABEL_STYLES, Label.ABSTAIN: "yellow"}
_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "yellow")}
_NOT_REACHED = ("–", "dim")
_WHY_NOT = {
    "not labelled": "it has no label yet",
    "abstains": "its label abstains",
    State.PROVISIONAL: "its label is provisional",
    Fate.BLANK: "its text is blank",
    Fate.WEIGHTLESS: "its weight is 0",
    Fate.NOT_TRAINED: "the policy's training section leaves its tier out",
    Fate.FAILED: "its tier fails its audit",
    Fate.DUPLICATE: "the same text with the same label is already in it",
    Fate.OVERRULED: "the same text has the other label in a stronger tier",
    Fate.CONTRADICTED: "the same text has both labels in equal tiers, so neither trains",
}


def show_explanation(
    explanation: Explanation, policy: Policy, releases: list[dict[str, Any]], console: Console, *, full: bool
) -> None:
    """Print all that is known of a row.

    Args:
        explanation: the row's explanation.
        policy: the policy whose rules were tried.
        releases: the releases trained on the row's training sets: ``id``, ``training_set``, ``champion``.
        console: where to print.
        full: whether texts are printed whole.

    """
    _show_head(explanation, console)
    _show_texts(explanation, console, full=full)
    _show_timeline(explanation, console)
    _show_rules(explanation, policy, console)
    _show_label(explanation, policy, console)
    if explanation.readings:
        show_verdicts(explanation, console)
    _show_training(explanation, policy, releases, console)


def _show_head(explanation: Explanation, console: Console) -> None:
    draft = explanation.draft
    title = Text(visible(explanation.row_id), style="bold")
    facts = [f"{name.split('_')[0]} {visible(str(draft[name]))}" for name in _FACTS if draft[name] not in (None, "")]
    title.append("  " + " · ".join(facts), style="not bold dim")
    print_trimmed(title, console)
    label = explanation.stored or explanation.computed
    if label is not None:
        print_trimmed(_label_line(label, explanation), console)


_FACTS = ("ticket_id", *DRAFT_COLUMN_NAMES, "agent_id", "source")


def _label_line(label: RowLabel, explanation: Explanation) -> Text:
    line = Text(label.label, style=f"bold {_LABEL_STYLES[label.label]}")
    line.append(f" by rule '{label.rule}'", style="default not bold")
    if label.tier:
        line.append(f", tier {label.tier}, weight {label.weight:g}", style="default not bold")
    line.append(f"; {label.state}", style="default not bold")
    if explanation.stored is None:
        line.append("; not labelled yet: the policy would give this label", style="yellow not bold")
    return line


def _heading(title: str, console: Console) -> None:
    console.print()
    print_trimmed(Text(title, style="bold"), console)


def _say(text: str, style: str, console: Console) -> None:
    print_trimmed(Padding(Text(text, style=style), (0, 0, 0, 2)), console)


def _show_texts(explanation: Explanation, console: Console, *, full: bool) -> None:
    draft, most = explanation.draft, None if full else _MOST_CHARACTERS
    messages = draft["prompt"] or []
    shown = messages if full else messages[-_MOST_MESSAGES:]
    _heading("Conversation", console)
    if len(shown) < len(messages):
        print_trimmed(
            Text(f"  ({len(messages) - len(shown)} earlier messages; --full shows them)", style="dim"), console
        )
    table = _grid(1)
    for message in shown:
        role = visible(message["role"] or "")[:12]
        table.add_row("", Text(role, style="cyan"), _body(message["content"] or "", most))
    table.add_row("", Text("draft", style="bold cyan"), _body(draft["completion"] or "", most))
    if explanation.other_text is not None:
        which = "preferred to" if draft["preferred_at"] is not None else "not preferred to"
        table.add_row("", Text(which, style="bold cyan"), _body(explanation.other_text, most))
    else:
        table.add_row("", Text("sent", style="bold cyan"), _sent(explanation, most))
    print_trimmed(table, console)


def _body(text: str, most: int | None) -> Text:
    return Text(shorten(visible(text, lines=True), most), overflow="fold")


def _sent(explanation: Explanation, most: int | None) -> Text:
    draft = explanation.draft
    old, new = draft["completion"] or "", draft["final_text"]
    if new is None:
        edited = draft["edited_at"] is not None
        return Text("edited; the log does not hold the new text" if edited else "nothing in the log", "dim")
    if new == old:
        return Text("as drafted", style="dim")
    diff = word_diff(old, new, full=most is None)
    if most is not None and len(diff) > 2 * most:
        left_out = len(diff) - 2 * most
        diff.truncate(2 * most)
        diff.append(f" … ({left_out:,} more characters; --full shows them)", style="dim")
    return diff if diff.plain.strip() else Text("blank", style="dim")


def _show_timeline(explanation: Explanation, console: Console) -> None:
    _heading("Timeline, UTC", console)
    show_timeline(explanation, console)
    outlook = waiting_for(explanation)
    if outlook:
        _say(outlook, "yellow", console)
    if explanation.measures:
        table = _grid(0)
        table.add_row("", Text(measures_line(explanation), style="dim"))
        print_trimmed(table, console)


def _show_rules(explanation: Explanation, policy: Policy, console: Console) -> None:
    _heading(f"Rules of {_called(policy)}", console)
    table = _grid(2)
    sent_text = explanation.sent_text
    if explanation.is_sent_text:
        if policy.sent_text is not None and sent_text is not None:
            _add_rule(table, sent_text, policy.sent_text.why)
    else:
        _say("✓ holds  ✗ does not  · unknown, a value is missing  – not reached", "dim", console)
        for rule, trace in zip(policy.rules, explanation.rules, strict=True):
            _add_rule(table, trace, rule.why)
        if sent_text is not None:
            mark, style = _MARKS[sent_text.holds]
            pointer = Text("the sent text is a row of its own: ", style="dim")
            pointer.append(f"explain {visible(explanation.row_id)}{SENT_SUFFIX}")
            table.add_row("", Text(mark, style=style), SENT_TEXT, pointer if sent_text.holds else _because(sent_text))
    print_trimmed(table, console)


def _add_rule(table: Table, trace: RuleTrace, why: str) -> None:
    reached = trace.outcome != "not reached"
    mark, style = _MARKS[trace.holds] if reached else _NOT_REACHED
    decides = trace.outcome == "decides"
    name = Text(trace.rule, style="bold" if decides else "" if reached else "dim")
    table.add_row("", Text(mark, style=style), name, _because(trace))
    if decides:
        for part in trace.parts if trace.joined else ():
            table.add_row("", "", "", _part(part))
        table.add_row("", "", "", Text(visible(" ".join(why.split())), style="italic", overflow="fold"))


def _because(trace: RuleTrace) -> Text:
    """Return why a rule does not decide; for the rule that decides, how its parts are joined."""
    if trace.outcome == "not reached":
        return Text("would hold" if trace.holds else "", style="dim")
    if trace.outcome == "decides":
        joined = {"AND": "all of these hold", "OR": "one of these is enough", None: trace.parts[0].text}
        return Text(joined[trace.joined], overflow="fold")
    if trace.joined == "OR":
        return Text("none holds: " + "; ".join(part.text for part in trace.parts), style="dim", overflow="fold")
    # A false part settles an AND; without one, an unknown part did.
    part = next((part for part in trace.parts if part.holds is False), None)
    part = part or next(part for part in trace.parts if part.holds is None)
    return Text(("not: " if part.holds is False else "unknown: ") + part.text, style="dim", overflow="fold")


def _part(part: Part) -> Text:
    mark, style = _MARKS[part.holds]
    line = Text(f"{mark} ", style=style, overflow="fold")
    line.append(part.text, style="default")
    return line


def _show_label(explanation: Explanation, policy: Policy, console: Console) -> None:
    stored, computed = explanation.stored, explanation.computed
    _heading("Label", console)
    table = _grid(1)
    if stored is not None:
        table.add_row("", Text("stored", style="cyan"), _label_text(stored))
    same = stored is not None and computed is not None and stored.agrees_with(computed)
    if computed is None:
        text = f"{_called(policy)} makes no such row"
        table.add_row("", Text("now", style="cyan"), Text(text, style="yellow"))
    elif not same or (stored is not None and stored.state != computed.state):
        table.add_row("", Text("now", style="cyan"), _label_text(computed))
    for row in explanation.corrections:
        table.add_row("", Text("corrected", style="cyan"), _correction_text(row))
    print_trimmed(table, console)
    if stored is None or stored.policy_digest == policy.digest:
        return
    if (stored.policy, stored.policy_version) == (policy.name, policy.version):
        text = f"The stored label is by another {policy.name} {policy.version}; raise `version` in the policy."
        _say(text, "yellow", console)
    if not same:
        text = f"{_called(policy)} gives another label than the stored one."
        _say(commands(f"{text} `feedback-kto policy plan` shows what else it would change."), "yellow", console)
    else:
        text = f"{_called(policy)} gives the same label as the stored one, by other rules."
        _say(text, "dim", console)


def _called(policy: Policy) -> str:
    return f"{policy.name} {policy.version} ({policy.digest[:12]})"


def _label_text(label: RowLabel) -> Text:
    text = f"{label.label} by '{label.rule}'"
    text += f", {label.tier}, weight {label.weight:g}" if label.tier else ""
    until = "since" if label.state == State.FINAL else "until at least"
    text += f"; {label.state} {until} {label.matures_at:%Y-%m-%d %H:%M}"
    text += f"; {visible(label.policy)} {label.policy_version} ({label.policy_digest[:12]})"
    return Text(f"{text}, as of {label.as_of:%Y-%m-%d %H:%M}", overflow="fold")


def _correction_text(row: dict[str, Any]) -> Text:
    was, now = (f"{row[f'{side}label']} by '{row[f'{side}rule']}'" for side in ("was_", ""))
    if not row["label"]:
        became = "became a row that the policy no longer makes"
    elif row["state"] == State.PROVISIONAL:
        became = f"became provisional again, as {now}"
    else:
        became = f"became {now}" if now != was else "became the label of another text"
    text = f"{row['recorded_at']:%Y-%m-%d %H:%M}: final {was} {became}"
    return Text(visible(f"{text}, because of {row['cause']}"), overflow="fold")


def _show_training(explanation: Explanation, policy: Policy, releases: list[dict[str, Any]], console: Console) -> None:
    stored, standing = explanation.stored, explanation.standing
    by_another = stored is not None and stored.policy_digest != policy.digest
    _heading("Training, by the stored label" if by_another else "Training", console)
    gate = explanation.gate
    if standing.trains and gate is not None and not gate.passed:
        line = Text("  It does not train: the audit's gate is closed, so nothing trains.", style="yellow")
    elif stored is not None and standing.trains:
        line = Text(f"  It trains as {stored.label}, with weight {standing.weight:g}.", style="green")
    elif standing.fate == Fate.KEPT:
        line = Text("  It does not train: its ticket is held out, for evaluation.", style="yellow")
    else:
        line = Text(f"  It does not train: {_WHY_NOT[standing.fate]}", style="yellow")
        rows = ", ".join(visible(row) for row in standing.because_of[:_MOST_MESSAGES])
        more = len(standing.because_of) - _MOST_MESSAGES
        line.append((f" ({rows}{f' and {more} more' if more > 0 else ''})" if rows else "") + ".")
    print_trimmed(line, console)
    table = _grid(1)
    for outcome in gate_lines(gate, stored.tier) if gate is not None and stored is not None and stored.tier else ():
        table.add_row("", Text("gate now", style="cyan"), Text(commands(outcome), overflow="fold"))
    for pair in standing.pairs:
        text = f"{visible(pair['row_id'])} preferred to {visible(pair['rejected_row_id'])} ({pair['split']})"
        table.add_row("", Text("pair", style="cyan"), Text(text, overflow="fold"))
    for holding in explanation.holdings:
        own = holding.row_id == explanation.row_id
        text = f"{holding.version}, {holding.part}/{holding.split}"
        text += "" if own else f", as {visible(holding.row_id)}, which has the same text"
        if stored is not None and holding.part in CLASSES and holding.part != stored.label:
            text += " (before the label changed)"
        table.add_row("", Text("training set", style="cyan"), Text(text, overflow="fold"))
    for release in releases:
        text = f"{release['id']}, trained on {release['training_set']}"
        table.add_row("", Text("release", style="cyan"), Text(text + (", the champion" if release["champion"] else "")))
    print_trimmed(table, console)
    older = explanation.unsearched
    if not explanation.holdings:
        yet = " yet" if explanation.trains else ""
        text = f"No training set holds it{yet}, so no release does."
        if older:
            text = f"None of the newest training sets holds it{yet}."
        _say(text, "dim", console)
    if older:
        text = f"{older:,} older training sets, and releases of them, were not searched."
        _say(text, "dim", console)


def _grid(indent: int) -> Table:
    """Return a table without lines: a blank column, `indent` columns that keep their width, and one for the rest."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    for _ in range(indent):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table
