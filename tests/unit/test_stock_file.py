"""Stock files: valid rows are converted for COPY, problems are reported by line and column."""

import io
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory import stock_file
from inventory.errors import FileProblem, InvalidFileError
from inventory.stock_file import COLUMNS, KEPT_LIMIT, convert_stock_file
from inventory.stock_file_text import MAX_LINE

HEADER = ",".join(COLUMNS)


def rows(content: bytes | str) -> list[list[str]]:
    """Return the rows of a file: line, shopId, sku, variantKey, productId, onHand, lowStockThreshold."""
    out = io.BytesIO()
    converted = convert_stock_file(io.BytesIO(content.encode() if isinstance(content, str) else content), out)
    found = [line.split("\t") for line in out.getvalue().decode().splitlines()]
    assert len(found) == converted.rows
    assert all(cells[-2:] == [KEPT_LIMIT, KEPT_LIMIT] for cells in found)  # these files have no columns of limits
    return [cells[:-2] for cells in found]


def problems(content: bytes | str) -> tuple[FileProblem, ...]:
    with pytest.raises(InvalidFileError) as refused:
        rows(content)
    assert all(problem.message for problem in refused.value.problems)
    return refused.value.problems


def place(content: bytes | str) -> tuple[int, str | None]:
    """Return where the only problem of the file is."""
    [problem] = problems(content)
    return problem.line, problem.column


def row(**values: str) -> str:
    cells = {"shopId": "s", "sku": "TEE", "variantKey": "", "productId": "", "onHand": "1", "lowStockThreshold": ""}
    return ",".join((cells | values).values())


def test_a_row_is_converted_with_its_line_number() -> None:
    content = f"{HEADER}\ndemo,TEE,size:M,tee,5,2\ndemo,MUG,,,0,\n"
    assert rows(content) == [
        ["2", "demo", "TEE", "size:M", "tee", "5", "2", "\\N", "f"],
        ["3", "demo", "MUG", "", "\\N", "0", "\\N", "\\N", "f"],
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_line_ends_of_every_system_and_a_byte_order_mark_are_accepted(start: str, end: str) -> None:
    content = start + end.join([HEADER, row(), "", row(sku="MUG"), ""])
    assert [found[:3] for found in rows(content)] == [["2", "s", "TEE"], ["4", "s", "MUG"]]


def test_columns_may_have_any_order_and_be_quoted() -> None:
    content = '"onHand",sku,shopId,variantKey,lowStockThreshold,productId\n"7","a ""b"", c",s,"","",""\n'
    assert rows(content) == [["2", "s", 'a "b", c', "", "\\N", "7", "\\N", "\\N", "f"]]


def test_a_file_with_only_a_header_has_no_rows() -> None:
    assert rows(HEADER) == []


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("shopId,sku,variantKey,productId,onHand", "lowStockThreshold"),
        ("sku,variantKey,productId,onHand,lowStockThreshold", "shopId"),
        (f"{HEADER},SKU", "sku"),
        ("shopId\tsku", "variantKey"),
        ("Artikel;Bestand", None),
        ("s,TEE,,,1,", None),
    ],
)
def test_an_invalid_header_is_reported_once_with_its_column(header: str, column: str | None) -> None:
    assert place(f"{header}\n{row()}\n{row()}") == (1, column)


@pytest.mark.parametrize("content", [b"", "\ufeff".encode()])
def test_an_empty_file_is_reported_at_its_first_line(content: bytes) -> None:
    assert place(content) == (1, None)


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-be", "cp037"])
def test_another_encoding_is_reported_at_the_first_line(encoding: str) -> None:
    assert place(f"{HEADER}\n{row()}\n".encode(encoding)) == (1, None)


@pytest.mark.parametrize("broken", [b"gr\xc3\xb6\xdfe", b"\xc3\xb6\x81", b"na\x81ve"])
def test_a_value_that_cannot_be_decoded_is_reported_with_its_column(broken: bytes) -> None:
    content = f"{HEADER}\n{row()}\n{row(variantKey='%')}\n".encode().replace(b"%", broken)
    assert place(content) == (3, "variantKey")


def test_a_file_in_utf_16_that_breaks_off_within_a_character_is_refused() -> None:
    content = f"{HEADER}\n{row()}\n".encode("utf-16")
    assert place(content[:-1])[1] is None


@pytest.mark.parametrize("column", ["onHand", "lowStockThreshold"])
@pytest.mark.parametrize(
    "value",
    ["-1", "+1", "1.5", "1e3", "1E+03", "1_000", "1000000001", "9" * 5000, "x", "٣", "²", "0x1", "NaN", "''", "=1"],
)
def test_an_invalid_number_is_reported_with_its_column_in_a_short_message(column: str, value: str) -> None:
    [problem] = problems(f"{HEADER}\n{row()}\n{row(**{column: value})}\n")
    assert (problem.line, problem.column) == (3, column)
    assert len(problem.message) < 150


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ({"onHand": ""}, "onHand"),
        ({"onHand": '"1,000"'}, "onHand"),
        ({"sku": "4.00638E+12"}, "sku"),
        ({"productId": '"4,00638E+12"'}, "productId"),
        ({"sku": '"two\nlines"'}, "sku"),
        ({"shopId": ""}, "shopId"),
        ({"shopId": "a/b"}, "shopId"),
        ({"shopId": "x" * 129}, "shopId"),
        ({"shopId": "-a"}, "shopId"),
        ({"sku": ""}, "sku"),
        ({"sku": "x" * 201}, "sku"),
        ({"sku": "a\0b"}, "sku"),
        ({"sku": "a\x1bb"}, "sku"),
        ({"sku": "a\u202eb"}, "sku"),
        ({"sku": "a\u2028b"}, "sku"),
        ({"sku": "a\x0bb"}, "sku"),
        ({"variantKey": "x" * 201}, "variantKey"),
        ({"productId": "x" * 201}, "productId"),
        ({"productId": "a\tb"}, "productId"),
    ],
)
def test_an_invalid_value_is_reported_with_its_column(values: dict[str, str], column: str) -> None:
    assert place(f"{HEADER}\n{row(**values)}\n") == (2, column)


def test_a_line_with_too_few_or_too_many_fields_is_reported() -> None:
    assert place(f"{HEADER}\ns,TEE,,\n") == (2, "onHand")
    assert place(f"{HEADER}\ns,TEE,,,1,,x\n") == (2, None)
    assert place(f"{HEADER}\n{row()}\ns,TEE,,,1") == (3, "lowStockThreshold")  # it may have broken off


@pytest.mark.parametrize("line", ['s,"TEE,,,1,', 's,"TEE"x,,,1,', 's,"a""b,,,1,'])
def test_invalid_quotes_are_reported_at_their_own_line(line: str) -> None:
    found = problems(f"{HEADER}\n{line}\n{row()}\n")
    assert (found[0].line, found[0].column) == (2, None)


@pytest.mark.parametrize(
    "blob", [b"x" * 10_000_000, b'"' + b"x" * 10_000_000 + b'"', b'"' * 9_999_999, b"," * 10_000_000]
)
def test_a_line_of_ten_megabytes_is_reported_at_once(blob: bytes) -> None:
    assert place(HEADER.encode() + b"\n" + row().encode() + b"\n" + blob + b"\n" + row().encode()) == (3, None)
    assert place(blob) == (1, None)


def test_the_longest_values_fit_in_a_line() -> None:
    longest = dict.fromkeys(("sku", "variantKey", "productId"), '"' + '""' * 200 + '"')
    line = row(shopId="x" * 128, onHand="1000000000", lowStockThreshold="1000000000", **longest)
    assert len(line) < MAX_LINE
    assert rows(f"{HEADER}\n{line}\n")[0][2] == '"' * 200


def test_at_most_a_hundred_problems_are_reported() -> None:
    found = problems(f"{HEADER}\n" + f"{row(onHand='x')}\n{row()}\n" * 150)
    assert [problem.line for problem in found] == list(range(2, 202, 2))


def test_a_file_with_too_many_rows_is_reported_at_the_first_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_file, "MAX_ROWS", 3)
    assert len(rows("\n".join([HEADER, *[row()] * 3]))) == 3
    assert place("\n".join([HEADER, *[row()] * 5])) == (5, None)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300))
def test_any_bytes_give_rows_or_printable_problems(content: bytes) -> None:
    for start in (b"", HEADER.encode() + b"\n", HEADER.encode() + b"\ns,"):
        with suppress(InvalidFileError):
            rows(start + content)
            continue
        found = problems(start + content)
        assert found
        assert all(problem.line >= 1 and problem.message.isprintable() for problem in found)
