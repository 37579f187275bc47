"""The English words that state facts: numbers, units, dates and negations; and the words that state nothing."""


def _words(text: str) -> list[str]:
    return text.split()


NUMBER_WORDS: dict[str, int] = {
    word: value
    for value, word in enumerate(
        _words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
} | {
    word: value * 10
    for value, word in enumerate(_words("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
SCALES: dict[str, int] = {"hundred": 100, "thousand": 1000, "million": 1_000_000}

UNITS: dict[str, str] = {
    form: unit
    for unit, forms in {
        "$": "$ dollar dollars usd bucks",
        "€": "€ euro euros eur",
        "£": "£ pound pounds gbp",
        "¥": "¥ yen jpy",
        "%": "% percent",
        "second": "second seconds sec secs",
        "minute": "minute minutes min mins",
        "hour": "hour hours hr hrs",
        "day": "day days",
        "week": "week weeks",
        "month": "month months",
        "year": "year years",
        "gb": "gb",
        "mb": "mb",
        "am": "am",
        "pm": "pm",
    }.items()
    for form in _words(forms)
}
"""Every form of a unit, to the unit."""

UNIT_MODIFIERS = frozenset(_words("business working calendar"))
"""Words that change a unit: two business days are not two days."""

_MONTHS = _words("january february april june july august september october november december")
DATES: dict[str, str] = {
    word: word
    for word in (
        *_words("monday tuesday wednesday thursday friday saturday sunday today tomorrow yesterday tonight"),
        *_MONTHS,
    )
}
DATES_BY_NUMBER: dict[str, str] = {"may": "may", "march": "march", "mar": "march", "sept": "september"} | {
    month[:3]: month for month in _MONTHS
}
"""Words that are a month only where a number stands beside them."""

NEGATIONS = frozenset(
    _words(
        "not no never none nothing nobody neither nor without cannot unable cant dont wont isnt arent wasnt werent "
        "doesnt didnt hasnt havent couldnt shouldnt wouldnt"
    )
)
PLEASANTRIES = frozenset(_words("problem problems worries worry hesitate doubt"))
"""What a negation denies in a set phrase, where nothing is denied: no problem, don't hesitate."""

FUNCTION_WORDS = frozenset(
    _words(
        "a an the this that these those it its i you we they he she me us them my your our their his her is are was "
        "were be been being am do does did have has had will would can could shall should may might must to of in on "
        "at by for from with as and or but so if then than there here just also very really please yet any more even"
    )
)
"""Words of grammar: changing them changes the wording, not the content."""
