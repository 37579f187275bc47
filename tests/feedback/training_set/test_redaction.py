"""Redaction by type of data: it replaces the usual formats, and leaves texts that differ by one character."""

from collections.abc import Iterator

import duckdb
import pytest

from feedback.training_set.redaction import PATTERNS, install_redaction


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        install_redaction(connection)
        yield connection


REPLACED = {
    "EMAIL": [
        "ann@example.org",
        "Ann.B_c%d+e-f1@mail-2.example.co.uk",
        "jürgen@müller.de",
        "ivan@почта.рф",
        "a@b.io",
        "555.123.4567@example.org",  # not [PHONE]@example.org
    ],
    # Examples of countries from the registry of ISO 13616, from the shortest to the longest.
    "IBAN": [
        "NO93 8601 1117 947",
        "NO9386011117947",
        "BE68 5390 0754 7034",
        "DE89 3704 0044 0532 0130 00",
        "DE89370400440532013000",
        "GB29 NWBK 6016 1331 9268 19",
        "FR14 2004 1010 0505 0001 3M02 606",
        "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
        "LC14BOSL123456789012345678901234",
        "RU03 0445 2522 5408 1781 0538 0913 1041 9",
    ],
    "CARD": [
        "4111 1111 1111 1111",
        "5555-5555-5555-4444",
        "4222222222222",  # 13 digits
        "6304000000000000000",  # 19 digits
        "3782 822463 10005",
        "3782-822463-10005",
        "378282246310005",
        "3782822463 10005",
        "0123 4567 8901 2345",  # not [PHONE] 2345
    ],
    "SSN": ["078-05-1120"],
    "IP": ["192.168.0.1", "255.255.255.255", "249.250.199.9", "9.199.250.249", "0.0.0.0", "8.8.4.4", "10.20.30.40"],
    "PHONE": [
        "+44 20 7946 0958",
        "+1 (415) 555-2671",
        "+1-415-555-2671",
        "+1.415.555.2671",
        "+49.30.901820",
        "+491511234567",
        "+353 1 234 5678",
        "+33 1 23 45 67 89",
        "+44 (0)20 7946 0958",
        "+12345",
        "(415) 555-2671",
        "(415)555.2671",
        "(415) 555 2671",
        "415-555-2671",
        "415.555.2671",
        "415 555 2671",
        "020 7946 0958",
        "0161 496 0000",
        "01632 960 1234",
    ],
}
LEFT = {
    "EMAIL": ["ann@example", "ann @example.org", "ann@ example.org", "ann@example.o", "@example.org", "ann@x_org"],
    "IBAN": [
        "DE89 3704 0044", "NO93 8601 1117 94", "D189 3704 0044 0532", "DEE9 3704 0044 0532", "de89 3704 0044 0532",
        "XDE89370400440532ABC", "LC14BOSL1234567890123456789012345678",
    ],
    "CARD": ["411111111111", "4111 1111 1111", "41111111111111111111", "x378282246310005", "378282246310005x"],
    "SSN": ["078-051-120", "0780-05-1120", "078-05-11200", "x078-05-1120", "078 05 1120"],
    "IP": ["256.1.1.1", "1.1.1.256", "1.2.3", "1.260.3.4", "1a2a3a4", "v1.2.3.4", "1.2.3.4x", "1.2..4"],
    "PHONE": [
        "+5 items", "+1234", "+12345x", "(41) 555-2671", "(415) 55-2671", "(415) 555-26710",
        "4155552671", "415-555-26710", "1415-555-2671", "x415-555-2671",
        "020 79460958", "120 7946 0958", "020 7946 095", "020 7946 09580", "x020 7946 0958",
    ],
    "nothing": ["order 12345", "2026-03-02", "at 12:30:59", "1,234.56", "30 days", "version 3.11", "no. 100-200", ""],
}  # fmt: skip


def redact(connection: duckdb.DuckDBPyConnection, text: str | None) -> str | None:
    return connection.execute("SELECT redact(?)", [text]).fetchall()[0][0]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in REPLACED.items() for text in texts])
def test_personal_data_is_replaced_whole_by_its_kind(connection, name: str, text: str) -> None:
    assert redact(connection, text) == f"[{name}]"
    assert redact(connection, f"({text}), or {text} now") == f"([{name}]), or [{name}] now"


@pytest.mark.parametrize("text", [text for texts in LEFT.values() for text in texts])
def test_what_has_the_shape_of_no_kind_is_left(connection, text: str) -> None:
    assert redact(connection, text) == text


def test_every_kind_is_tried() -> None:
    assert list(REPLACED) == list(PATTERNS)


def test_no_text_stays_no_text(connection) -> None:
    assert redact(connection, None) is None


def test_a_prompt_keeps_its_turns_and_their_roles(connection) -> None:
    turns = [{"role": "system", "content": "Be kind."}, {"role": "ann@example.org", "content": "ann@example.org"}]
    redacted = connection.execute(
        "SELECT redact_prompt(?::STRUCT(role VARCHAR, content VARCHAR)[])", [turns]
    ).fetchall()
    assert redacted[0][0] == [turns[0], {"role": "ann@example.org", "content": "[EMAIL]"}]
