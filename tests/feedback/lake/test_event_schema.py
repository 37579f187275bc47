from feedback.lake.event_schema import (
    ALL_KINDS,
    DRAFT_KINDS,
    EVENT_SCHEMA,
    FILES_SCHEMA,
    KINDS,
    MAPPED_COLUMNS,
    NEEDED_COLUMNS,
    QUARANTINE_SCHEMA,
)


def test_every_kind_has_one_group():
    assert sum(len(group) for group in KINDS.values()) == len(ALL_KINDS) == 17
    assert DRAFT_KINDS.isdisjoint(KINDS["ticket"] + KINDS["preference"])


def test_mappings_return_what_is_not_the_files_to_say():
    assert set(EVENT_SCHEMA.names) - set(MAPPED_COLUMNS) == {"arrival_date", "file", "line"}


def test_needed_texts_are_event_columns():
    assert set(NEEDED_COLUMNS) <= ALL_KINDS
    assert {name for names in NEEDED_COLUMNS.values() for name in names} <= set(MAPPED_COLUMNS)


def test_every_table_leads_back_to_the_file_and_its_day():
    for schema in (EVENT_SCHEMA, QUARANTINE_SCHEMA, FILES_SCHEMA):
        assert {"file", "arrival_date", "source"} <= set(schema.names)
