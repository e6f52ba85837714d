"""psycopg parses a statement at each use unless it is short: a quarter of what Python spends on one."""

from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from inventory import checks, holds, reserve, settle


def test_the_statements_of_every_hold_are_short_enough_to_be_parsed_once() -> None:
    everyday = {
        "check": checks._CHECK,
        "reserve": reserve._PLAIN,
        "reserve with something optional": reserve._STATEMENTS[False, False],
        "settle": settle._SETTLE,
        "read": holds._READ,
    }
    assert {name: len(text) for name, text in everyday.items() if len(text) > MAX_CACHED_STATEMENT_LENGTH} == {}
