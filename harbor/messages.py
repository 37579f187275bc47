"""Customers' messages: one message for a policy cell, in one of many wordings.

The message states the attributes that decide the answer, under several names ("yearly plan", "annual
subscription"). It also has names, amounts and order numbers that decide nothing. So a copilot has to learn which
words matter.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType

from harbor.policy_book import Cell

_PLANS = {
    "monthly": ("monthly plan", "month-to-month plan", "monthly subscription"),
    "annual": ("annual plan", "yearly plan", "annual subscription"),
    "team": ("team plan", "plan for our team", "team subscription"),
}

# (attribute, value) → the customer's words for it. Amounts are drawn in `_amount` instead.
_WORDS: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        **{("plan", value): words for value, words in _PLANS.items()},
        ("region", "EU"): ("in the EU", "in Germany", "in France"),
        ("region", "UK"): ("in the UK", "in London", "in Scotland"),
        ("region", "US"): ("in the US", "in Texas", "in New York"),
        ("region", "Canada"): ("in Canada", "in Toronto", "in Quebec"),
        ("payment", "card"): ("on my card", "on our credit card"),
        ("payment", "invoice"): ("on our invoice", "on the last invoice"),
        ("payment", "wallet"): ("from my wallet", "from the online wallet"),
        ("payment", "debit"): ("by direct debit", "as a direct debit"),
        ("account", "personal"): ("personal account", "private account"),
        ("account", "team"): ("team account", "account in our team"),
        ("account", "enterprise"): ("enterprise account", "company account"),
        ("login", "email"): ("email and password", "my email address"),
        ("login", "authenticator"): ("an authenticator app", "the authenticator codes"),
        ("login", "passkey"): ("a passkey", "my passkey"),
        ("login", "SSO"): ("SSO", "single sign-on"),
        ("priority", "urgent"): ("everything is down", "we have a complete outage"),
        ("priority", "high"): ("exports fail for half of our staff", "sync is broken for many of us"),
        ("priority", "normal"): ("reports load slowly", "one report shows wrong totals"),
        ("priority", "low"): ("a label is misspelled", "a button has an odd colour"),
        ("tier", "basic"): ("basic support", "the basic tier"),
        ("tier", "pro"): ("pro support", "the pro tier"),
        ("tier", "enterprise"): ("enterprise support", "the enterprise tier"),
        ("stage", "trial"): ("still in the trial", "in our trial period"),
        ("stage", "first"): ("in the first term", "in my first term"),
        ("stage", "renewed"): ("in a renewed term", "past the first renewal"),
        ("stage", "discount"): ("on a discount", "at a discounted price"),
    }
)

_BODIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "refund": (
            "I bought the {plan} {region}, order {order}, and want my money back. How long do I have?",
            "please refund order {order}. I am {region} and have the {plan}. What is the window?",
            "I would like a refund for my {plan}. I live {region}; the order is {order}.",
            "can I return my {plan}? I ordered {region} under {order} and do not need it.",
        ),
        "billing_dispute": (
            "there is a charge of {amount} {payment} that I do not know. When will I hear from you?",
            "you took {amount} {payment} twice, see {order}. Please look into it.",
            "I dispute {amount} that was paid {payment} for {order}. How long will this take?",
            "why was {amount} charged {payment}? We never agreed to {order}.",
        ),
        "password_reset": (
            "I cannot get into my {account}. I sign in with {login}. How do I reset it?",
            "I forgot how to get into my {account}. It uses {login}. What now?",
            "please reset the access to {order}: {account}, login with {login}.",
            "locked out of the {account} since today, normally I use {login}.",
        ),
        "sla": (
            "{priority} since this morning, case {order}. We have {tier}. When do you respond?",
            "we pay for {tier} and {priority}. How soon will somebody look at it?",
            "{priority}. We are on {tier}; please tell us the response time for {order}.",
            "with {tier}, how long do we wait when {priority}? Reference {order}.",
        ),
        "cancellation": (
            "please cancel my {plan}, number {order}. I am {stage}. What is the notice?",
            "I want to stop the {plan}; I am {stage}. When does it end?",
            "how do I cancel? It is the {plan} {order} and we are {stage}.",
            "we no longer need the {plan}. We are {stage}. How much notice for {order}?",
        ),
    }
)

FIRST_NAMES = (
    *(
        "Ada",
        "Amir",
        "Ben",
        "Carla",
        "Chen",
        "Dana",
        "Elif",
        "Emma",
        "Femi",
        "Grace",
        "Hugo",
        "Ines",
        "Ivan",
        "Jonas",
    ),
    *(
        "Kofi",
        "Lena",
        "Liam",
        "Maria",
        "Mina",
        "Noah",
        "Olga",
        "Omar",
        "Paula",
        "Ravi",
        "Rosa",
        "Sam",
        "Tara",
        "Yuki",
    ),
)
_GREETINGS = ("Hi, ", "Hello, ", "Good morning, ", "Hi team, ", "", "")
_CLOSINGS = ("", "", " Thanks, {name}", " Regards, {name}", " {name}", " Thank you!")


def _amount(band: str, rng: random.Random) -> str:
    """Draw an amount in dollars; the band sets its number of digits, as in the book's billing tiers."""
    low, high = {"small": (12, 99), "medium": (120, 990), "large": (1200, 9800)}[band]
    return f"${rng.randint(low, high)}"


def write_message(cell: Cell, rng: random.Random) -> str:
    """Write what a customer in `cell` might ask, about 15 to 40 words, drawn from `rng`."""
    slots = {
        name: _amount(value, rng) if name == "amount" else rng.choice(_WORDS[name, value])
        for name, value in cell.attributes
    }
    slots["order"] = f"{rng.choice('ABCHKMR')}{rng.randint(100, 999)}"
    body = rng.choice(_BODIES[cell.category]).format(**slots)
    greeting = rng.choice(_GREETINGS)
    closing = rng.choice(_CLOSINGS).format(name=rng.choice(FIRST_NAMES))
    return f"{greeting}{body if greeting else body[0].upper() + body[1:]}{closing}"
