"""The kinds of event in a log, and the meaning of each.

This is the one list: the signals and columns that a policy reads, the checks of raw logs, the SQL that builds
interactions and the docs' table of kinds all follow from it.
"""

from dataclasses import dataclass
from enum import StrEnum

RANKING_SIGNALS: tuple[str, str] = ("preferred", "not_preferred")
"""The signals of a ranking: one for the chosen text, one for the other."""


class About(StrEnum):
    """The subject of an event."""

    DRAFT = "draft"
    TICKET = "ticket"
    RANKING = "ranking"


@dataclass(frozen=True, kw_only=True)
class EventKind:
    """One kind of event.

    Attributes:
        name: its value in an event's ``kind``.
        about: one draft, named by ``draft_id``; its ticket, and so every draft shown on it before; or a ranking of two
            texts, which the event contains.
        says: its description in the docs.
        decides: whether it is an agent's decision about a draft, not an opinion.
        gives: the interaction columns that it can change besides ``<signal>_at``.
        needs: the event columns that it requires, besides the ids and the time.

    """

    name: str
    about: About
    says: str
    decides: bool = False
    gives: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def makes_rows(self) -> bool:
        """Whether it contains a text, which becomes an interaction; other kinds refer to such a text."""
        return "completion" in self.needs

    @property
    def signals(self) -> tuple[str, ...]:
        """Its signals: a ranking has one for each of its two texts, a showing none, any other kind itself."""
        if self.about is About.RANKING:
            return RANKING_SIGNALS
        return () if self.makes_rows else (self.name,)


_SENT = ("final_text", "edit_similarity", "edit_kind")

EVENT_KINDS: tuple[EventKind, ...] = (
    EventKind(
        name="draft_shown", about=About.DRAFT, needs=("prompt", "completion"),
        says="the copilot's draft was shown to an agent",
    ),
    EventKind(
        name="accepted", about=About.DRAFT, decides=True, gives=_SENT, says="sent unchanged, or as `final_text` says"
    ),
    EventKind(
        name="edited", about=About.DRAFT, decides=True, gives=_SENT,
        says="changed and sent; without `final_text` the kind of edit is unknown",
    ),
    EventKind(name="rejected", about=About.DRAFT, decides=True, says="refused"),
    EventKind(name="dismissed", about=About.DRAFT, decides=True, says="closed or ignored"),
    EventKind(name="copied", about=About.DRAFT, decides=True, says="copied out"),
    EventKind(name="thumbs_up", about=About.DRAFT, says="the agent's thumb points up"),
    EventKind(name="thumbs_down", about=About.DRAFT, says="the agent's thumb points down"),
    EventKind(name="approved", about=About.DRAFT, says="a moderator let it stand"),
    EventKind(name="flagged", about=About.DRAFT, says="a moderator or a safety filter objected"),
    EventKind(name="resolved", about=About.TICKET, says="the ticket was solved"),
    EventKind(name="unresolved", about=About.TICKET, says="the ticket was closed unsolved"),
    EventKind(name="reopened", about=About.TICKET, says="the customer came back to the ticket"),
    EventKind(name="escalated", about=About.TICKET, says="the ticket went to another team"),
    EventKind(
        name="surveyed", about=About.TICKET, gives=("survey_score",), needs=("score",),
        says="the customer answered a survey",
    ),
    EventKind(name="repeat_contact", about=About.TICKET, says="the customer asked the same again elsewhere"),
    EventKind(
        name="preference", about=About.RANKING, needs=("prompt", "completion", "final_text"),
        says="two texts were compared: `completion` was preferred to `final_text`",
    ),
)  # fmt: skip
"""All kinds of event; a line with another kind goes to the quarantine."""
