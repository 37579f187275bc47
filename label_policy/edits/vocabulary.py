"""Words that state facts (numbers, units, dates, bounds and denials), and words that state nothing.

The words are mainly English. German, French and Spanish are covered for units of time, days, months and denials: a
changed digit is detected in any language, and these words are what else can change a promise.
"""

from itertools import chain


def _words(text: str) -> list[str]:
    return text.split()


def _forms(table: dict[str, str]) -> dict[str, str]:
    """Invert a table of meanings and their forms: from every form to its meaning."""
    return {form: meaning for meaning, forms in table.items() for form in forms.split()}


# --- Numbers

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
SCALES: dict[str, int] = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
}
ORDINALS: dict[str, str] = {
    word: str(value)
    for value, word in enumerate(_words("second third fourth fifth sixth seventh eighth ninth tenth"), start=2)
}
PARTS = frozenset(_words("twice thrice half partial partially quarter"))
"""Words that are amounts by themselves."""

# --- Units

CURRENCIES: dict[str, str] = _forms(
    {
        "$": "$ usd dollar dollars buck bucks",
        "€": "€ eur euro euros",
        "£": "£ gbp pound pounds quid",
        "¥": "¥ jpy yen",
        "₹": "₹ inr rupee rupees",
        "chf": "chf franken",
        "cad": "cad",
        "aud": "aud",
    }
)
PERIODS: dict[str, str] = _forms(
    {
        "hour": "hour hours hr hrs stunde stunden heure heures hora horas",
        "day": "day days tage tagen jour jours día días dia dias",
        "week": "week weeks woche wochen semaine semaines semana semanas",
        "month": "month months monat monate monaten monats mois mes meses",
        "year": "year years jahr jahre jahren année années año años",
    }
)
"""Units of time that state a fact without a number, too: a day, next week, per month."""

UNITS: dict[str, str] = (
    CURRENCIES
    | PERIODS
    | _forms(
        {
            "%": "% percent prozent",
            "second": "second seconds sec secs sekunde sekunden seconde secondes segundo segundos",
            "minute": "minute minutes min mins minuten minuto minutos",
            "hour": "h",
            "day": "tag",
            "am": "am",
            "pm": "pm",
            "kb": "kb",
            "mb": "mb megabyte megabytes",
            "gb": "gb gigabyte gigabytes",
            "tb": "tb terabyte terabytes",
            "kbit": "kbit kbps",
            "mbit": "mbit mbps",
            "gbit": "gbit gbps",
            "g": "g gram grams",
            "kg": "kg kilogram kilograms",
            "oz": "oz ounce ounces",
            "lb": "lb lbs",
            "ml": "ml",
            "l": "l liter liters litre litres",
            "mm": "mm",
            "cm": "cm",
            "m": "m meter meters metre metres",
            "km": "km",
            "inch": "inch inches",
            "ft": "ft foot feet",
            "mile": "mile miles",
        }
    )
)
"""From every form of a unit to the unit. A unit counts only after a number; a currency also before it."""

UNIT_MODIFIERS: dict[str, str] = _forms({"business": "business working", "calendar": "calendar"})
"""Words that change a unit: two business days are not two days."""

LENGTHS: dict[str, tuple[str, int]] = {
    "second": ("second", 1),
    "minute": ("second", 60),
    "hour": ("second", 3600),
    "day": ("second", 86_400),
    "week": ("second", 604_800),
    "month": ("month", 1),
    "year": ("month", 12),
}
"""Units of time that convert exactly. A month is not a fixed number of days."""

ADVERBS_OF_PERIOD: dict[str, str] = _forms(
    {
        "hour": "hourly",
        "day": "daily täglich quotidien diario",
        "week": "weekly wöchentlich hebdomadaire semanal",
        "month": "monthly monatlich mensuel mensuelle mensual",
        "year": "yearly annually annual jährlich annuel annuelle anual",
    }
)
EVERY = frozenset(_words("a an per each every pro par por jede jeden jedes chaque cada /"))
"""Before a unit of time these words mean one of it: a week, per month."""

SOME: dict[str, str] = _forms({"few": "few several some couple", "many": "many"})
WHICH: dict[str, str] = _forms({"next": "next coming following", "last": "last past previous", "this": "this current"})
"""Before a unit of time these words make a date: next week."""

# --- Dates and times of day

MONTHS: dict[str, str] = _forms(
    {
        "january": "january januar janvier enero",
        "february": "february februar février febrero",
        "march": "märz marzo",
        "april": "april avril abril",
        "may": "mai mayo",
        "june": "june juni juin junio",
        "july": "july juli juillet julio",
        "august": "august août agosto",
        "september": "september septembre septiembre",
        "october": "october oktober octobre octubre",
        "november": "november novembre noviembre",
        "december": "december dezember décembre diciembre",
    }
)
MONTH_NUMBERS = {
    f"{number:02}": month
    for number, month in enumerate(
        _words("january february march april may june july august september october november december"), start=1
    )
}
MONTHS_BESIDE: dict[str, str] = {"may": "may", "march": "march", "mars": "march", "sept": "september"} | {
    month[:3]: month for month in MONTH_NUMBERS.values()
}
"""Words that mean a month only beside a number or after a preposition of time."""

WEEKDAYS: dict[str, str] = _forms(
    {
        "monday": "monday mondays montag montags lundi lunes",
        "tuesday": "tuesday tuesdays dienstag dienstags mardi martes",
        "wednesday": "wednesday wednesdays mittwoch mittwochs mercredi miércoles",
        "thursday": "thursday thursdays donnerstag donnerstags jeudi jueves",
        "friday": "friday fridays freitag freitags vendredi viernes",
        "saturday": "saturday saturdays samstag samstags samedi sábado",
        "sunday": "sunday sundays sonntag sonntags dimanche domingo",
        "today": "today heute aujourd'hui hoy",
        "tomorrow": "tomorrow demain mañana",
        "yesterday": "yesterday gestern ayer",
        "tonight": "tonight",
        "midnight": "midnight mitternacht minuit",
        "noon": "noon midday mittag midi",
    }
)
WEEKDAYS_BESIDE: dict[str, str] = _forms(
    {
        "monday": "mon",
        "tuesday": "tue tues",
        "wednesday": "wed",
        "thursday": "thu thur thurs",
        "friday": "fri",
        "saturday": "sat",
        "sunday": "sun",
    }
)
BESIDE = frozenset(_words("on in by until till since from of before after during next last this every"))
"""After these words a short form means a day or month."""

TIMES_OF_DAY: dict[str, str] = _forms(
    {
        "morning": "morning mornings",
        "afternoon": "afternoon afternoons",
        "evening": "evening evenings",
        "weekend": "weekend weekends",
        "weekday": "weekday weekdays",
    }
)
WISHES = frozenset(_words("good nice great lovely wonderful pleasant fantastic happy your"))
"""Before a time of day these words make a greeting: good morning, have a great weekend."""

TIME_ZONES = frozenset(_words("utc gmt cet cest est edt cst cdt mst mdt pst pdt bst ist jst"))

# --- Bounds

UPPER = frozenset(_words("within under below before until till less fewer most up maximum max by"))
LOWER = frozenset(_words("over above beyond after since more least minimum min from"))
BETWEEN_BOUND_AND_FACT = frozenset(_words("than to the a an of at , -"))

# --- Denials

NEGATIONS = frozenset(
    _words(
        "not no non never none nothing nobody neither nor without unable cannot "
        "nicht nichts kein keine keinen keinem keiner keines nie niemals niemand ohne weder nein "
        "pas jamais rien aucun aucune sans "
        "nunca jamás nada nadie ningún ninguna ninguno sin tampoco"
    )
)
PLEASANTRIES = frozenset(_words("problem problems worries worry hesitate doubt"))
"""After a negation these words make a set phrase that denies nothing: no problem, don't hesitate."""

OPPOSITES: dict[str, tuple[str, ...]] = {
    "un": ("",),
    "in": ("",),
    "im": ("",),
    "ir": ("",),
    "il": ("",),
    "non": ("",),
    "dis": ("", "en"),
    "de": ("", "in"),
    "ex": ("in",),
    "down": ("up",),
    "under": ("over",),
}
"""From a denying prefix to the prefixes of the denied word: unavailable, available; disabled, enabled."""

# --- Spelling

CONTRACTIONS: dict[str, tuple[str, ...]] = {
    "can't": ("can", "not"),
    "cannot": ("can", "not"),
    "won't": ("will", "not"),
    "shan't": ("shall", "not"),
    "ain't": ("is", "not"),
    "wont": ("will", "not"),
    "cant": ("can", "not"),
    "i'm": ("i", "am"),
    "let's": ("let", "us"),
    "im": ("i", "am"),
    "ive": ("i", "have"),
    "youre": ("you", "are"),
    **{
        form: (verb, "not")
        for verb in _words("do does did is are was were has have had could should would must need")
        for form in (f"{verb}n't", f"{verb}nt")
    },
}
CONTRACTED_ENDINGS = {"'re": "are", "'ve": "have", "'ll": "will", "'d": "would"}
BEFORE_CONTRACTED_IS = frozenset(_words("it that there here what who where how he she this everything"))

CONFUSED = frozenset(
    frozenset(pair)
    for pair in (
        ("its", "it is"),
        ("your", "you are"),
        ("their", "there"),
        ("their", "they are"),
        ("there", "they are"),
        ("whose", "who is"),
        ("to", "too"),
        ("cheque", "check"),
        ("tyre", "tire"),
        ("grey", "gray"),
    )
)
"""Spellings of one word, or words confused so often that the change is a correction."""

DISTINCT = frozenset(
    _words(
        "cache card care cart case cash cast change charge coast cost contact contract contrast debit debt firm form "
        "last later latter letter list lost month mouth order older paid pain plan plane plant price prize quota quote "
        "reset resent sale save ship shop shot stop store story upgrade update"
    )
)
"""Words that differ in a letter or two but are never spellings of each other: charge, change."""

# --- Words that state nothing

FUNCTION_WORDS = frozenset(
    chain(
        _words(
            "a an the this that these those it its i you we they he she me us them my your our their his her is are "
            "was were be been being am do does did have has had will would can could shall should may might must to "
            "of in on at by for from with as and or but so if then than there here just also very really please yet "
            "any more even"
        ),
        _words(
            "der die das den dem des ein eine einen einem einer und oder aber ich du er sie es wir ihr ihre ihren "
            "ihrem ihrer dein deine deinen deinem deiner unser unsere ihnen uns sich ist sind war wurde wird werden "
            "hat haben zu auf für mit von im am an bei bitte auch noch sehr"
        ),
        _words(
            "le la les l' un une des du de et ou mais je tu il elle nous vous ils elles mon ma mes ton ta tes son sa "
            "ses notre nos votre vos leur leurs est sont été a ont avons avez à au aux en dans sur pour avec par ce "
            "cette ces qui que ne se très"
        ),
        _words(
            "el la los las un una unos unas y o pero yo tú usted nosotros ustedes ellos mi su sus tu nuestro nuestra "
            "es son está están fue ha han hemos a al de del en con por para lo le les se que muy ya"
        ),
    )
)
"""Function words: their change changes the wording, not the content."""

GREETINGS = ("hi", "hello", "hey", "dear", "good morning", "good afternoon", "good evening", "hallo", "bonjour", "hola")
VALEDICTIONS = (
    *("best", "kind", "warm", "many thanks", "thanks", "regards", "sincerely", "yours", "cheers", "all the best"),
    *("mit freundlichen", "viele grüße", "cordialement", "bien à vous", "saludos", "atentamente"),
)
COURTESIES = (
    *("thank you", "thanks", "many thanks", "let me know", "let us know", "please let", "feel free"),
    *("please feel free", "do not hesitate", "don't hesitate", "please do not hesitate", "please don't hesitate"),
    *("if you have any", "if there is anything", "if there's anything", "is there anything", "i hope", "we hope"),
    *("hope this", "hope that", "sorry", "i am sorry", "i'm sorry", "i am very sorry", "i'm very sorry"),
    *("i'm so sorry", "we are sorry", "we're sorry", "we are very sorry", "we're very sorry", "apologies"),
    *("my apologies", "our apologies", "i apologise", "i apologize", "we apologise", "we apologize"),
    *("i appreciate", "we appreciate", "i understand", "we understand", "have a", "enjoy", "you are welcome"),
    *("you're welcome", "happy to", "glad to", "no problem", "no worries", "vielen dank", "danke", "merci", "gracias"),
)
"""Beginnings of courtesies, which change the tone of a reply, not its answer."""
