from feedback.lake.event_schema import (
    ALL_KINDS,
    DRAFT_KINDS,
    EVENT_SCHEMA,
    FILES_SCHEMA,
    MAPPED_COLUMNS,
    NEEDED_COLUMNS,
    QUARANTINE_SCHEMA,
    RANKING_KINDS,
    SHOWING_KINDS,
    TICKET_KINDS,
)


def test_every_kind_is_about_one_thing():
    assert sorted(DRAFT_KINDS + TICKET_KINDS + RANKING_KINDS) == sorted(set(ALL_KINDS))
    assert (SHOWING_KINDS, RANKING_KINDS) == (("draft_shown",), ("preference",))


def test_mappings_return_what_is_not_the_files_to_say():
    assert set(EVENT_SCHEMA.names) - set(MAPPED_COLUMNS) == {"arrival_date", "file", "line"}


def test_needed_texts_are_event_columns():
    assert set(NEEDED_COLUMNS) <= set(ALL_KINDS)
    assert {name for names in NEEDED_COLUMNS.values() for name in names} <= set(MAPPED_COLUMNS)


def test_every_table_leads_back_to_the_file_and_its_day():
    for schema in (EVENT_SCHEMA, QUARANTINE_SCHEMA, FILES_SCHEMA):
        assert {"file", "arrival_date", "source"} <= set(schema.names)
