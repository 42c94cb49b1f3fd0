"""The splitter of SQL: what looks like a statement's end, and is none."""

from __future__ import annotations

import pytest
from headrace.blocks.statements import BadSql, split_statements

WHOLE = [
    "SELECT 'a;b'",
    "SELECT 'a;\nb'",
    "SELECT 'it''s;'",
    "SELECT 'back\\'",
    "SELECT E'a\\';b'",
    'SELECT "a;b"',
    "DO $$ BEGIN PERFORM 1; END $$",
    "CREATE FUNCTION f() RETURNS text AS $tag$ a;$$;b $tag$ LANGUAGE sql",
    "SELECT 1 /* ; /* ; */ ; */ + 1",
    "SELECT 1 -- ;\n + 1",
    "CREATE TABLE x AS SELECT 1",
    "UPDATE t SET a = 1",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
    "SELECT a ->> 'x;' FROM t WHERE b @> '{}'",
    "SELECT $$a'$$",
    "BEGIN",
]


@pytest.mark.parametrize("sql", WHOLE)
def test_a_statement_stays_whole(sql: str) -> None:
    assert [s.text for s in split_statements(f"{sql};\nSELECT 2 ;;\n-- end;")] == [sql, "SELECT 2"]


def test_all_of_them_in_a_row_are_found_again_with_their_lines() -> None:
    found = split_statements(";\n".join(WHOLE))
    assert [s.text for s in found] == WHOLE
    assert [s.number for s in found] == list(range(1, len(WHOLE) + 1))
    assert found[2].line == 4


@pytest.mark.parametrize("sql", ["", " ; ;", "-- nothing", "/* nothing; */"])
def test_what_says_nothing_has_no_statement(sql: str) -> None:
    assert split_statements(sql) == []


@pytest.mark.parametrize(
    ("sql", "line", "opened"),
    [
        ("SELECT 'a", 1, "'"),
        ("SELECT $$a", 1, "$$"),
        ('SELECT "a', 1, '"'),
        ("SELECT 'it''s',\n E'\\'', $a$ ' $a$, -- '\n 'ope''n\nFROM t;\n", 3, "'"),
        ("SELECT 1;\nSELECT $x$ ' $$\n", 2, "$x$"),
        ("SELECT 1 /* ' */;\n/* open\n", 2, "/*"),
    ],
)
def test_what_has_no_end_is_refused_by_its_line(sql: str, line: int, opened: str) -> None:
    with pytest.raises(BadSql) as caught:
        split_statements(sql)
    assert caught.value.line == line
    assert f"the {opened} in line {line} has no end" in caught.value.message
    assert caught.value.__suppress_context__
