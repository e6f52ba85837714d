"""Stock files as the spreadsheets of several countries save them: what is read, what is said, what is refused."""

import io
from dataclasses import dataclass

import pytest

from inventory.errors import InvalidFileError
from inventory.stock_file import COLUMNS, convert_stock_file

TEE = ("demo", "TEE", "größe:M", "tee", "12", "2")
MUG = ("demo", "MUG", "", "\\N", "7", "\\N")
ROWS = (TEE, MUG)
EXCEL_DE = "shopId;sku;variantKey;productId;onHand;lowStockThreshold\r\ndemo;TEE;größe:M;tee;12;2\r\ndemo;MUG;;;7;\r\n"
EXCEL_US = EXCEL_DE.replace(";", ",")
TABS = EXCEL_DE.replace(";", "\t")
QUOTED = "\n".join(f'"{line}"' for line in EXCEL_US.replace(",", '","').splitlines())
TITLE = ("The line before the header was skipped: 'Table 1'.",)
READ_AS_1252 = "The file is not UTF-8; it was read as Windows-1252, for example 'größe:M' in line 2."


@dataclass
class Found:
    """What a file has: its rows without their lines, names and limits, and the notes on how it was read."""

    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def read(content: str, encoding: str = "utf-8", *, shop: str | None = None) -> Found:
    out = io.BytesIO()
    converted = convert_stock_file(io.BytesIO(content.encode(encoding)), out, shop_id=shop)
    lines = out.getvalue().decode().splitlines()
    return Found(tuple(tuple(line.split("\t")[1:-4]) for line in lines), converted.notes)


def refusal(content: str, *, shop: str | None = None) -> str:
    with pytest.raises(InvalidFileError) as refused:
        read(content, shop=shop)
    [problem] = refused.value.problems
    return f"{problem.line} {problem.column}: {problem.message}"


def counts(*values: str) -> list[str]:
    """Return the counts of a file in which a column has these values."""
    rows = "".join(f"demo\tS{number}\t\t\t{value}\t\n" for number, value in enumerate(values))
    return [row[4] for row in read("\t".join(COLUMNS) + "\n" + rows).rows]


@pytest.mark.parametrize(
    ("content", "encoding", "notes"),
    [
        pytest.param(EXCEL_DE, "utf-8-sig", (), id="Excel DE, CSV UTF-8"),
        pytest.param(EXCEL_DE, "cp1252", (READ_AS_1252,), id="Excel DE, CSV"),
        pytest.param(TABS, "utf-16", (), id="Excel, Unicode text"),
        pytest.param(TABS, "cp1252", (READ_AS_1252,), id="Excel, text"),
        pytest.param(EXCEL_US, "utf-8-sig", (), id="Excel US, CSV UTF-8"),
        pytest.param(EXCEL_US, "cp1252", (READ_AS_1252,), id="Excel US, CSV"),
        pytest.param(f"sep=;\r\n{EXCEL_DE}", "utf-8-sig", (), id="with a line sep="),
        pytest.param(f'"sep=,"\r\n{EXCEL_US}', "utf-8", (), id="with a quoted line sep="),
        pytest.param(f"SEP=\t\r\n{TABS}", "utf-16-le", (), id="UTF-16 without a mark, and sep="),
        pytest.param(EXCEL_US.replace("\r", ""), "utf-8", (), id="LibreOffice, Google Sheets"),
        pytest.param(QUOTED, "utf-8", (), id="LibreOffice, all cells quoted, no line end at the end"),
        pytest.param(EXCEL_DE.replace("\r", ""), "utf-16-be", (), id="LibreOffice, UTF-16 without a mark"),
        pytest.param(EXCEL_DE, "utf-8", (), id="Numbers DE"),
        pytest.param(f"Table 1\r\n{EXCEL_DE}", "utf-8", TITLE, id="Numbers DE, with table names"),
        pytest.param(f"\r\nTable 1,,,,,\r\n\r\n{EXCEL_US}", "utf-8", TITLE, id="a name in the first cell"),
        pytest.param(EXCEL_US.replace("\r\n", "\r"), "utf-8", (), id="old Mac line ends"),
        pytest.param(EXCEL_US.replace(",", "|"), "utf-8", (), id="vertical bars"),
        pytest.param(f"\n;;;;;\n{EXCEL_DE}", "utf-8", (), id="empty rows above"),
        pytest.param(f"{EXCEL_DE};;;;;\r\n ; ;;;;\r\n\r\n", "utf-8", (), id="empty rows below"),
        pytest.param(EXCEL_DE.replace("\r\n", ";;\r\n"), "utf-8", (), id="empty columns"),
        pytest.param(EXCEL_US.replace("MUG,,,7,", "MUG,,,7"), "utf-8", (), id="Excel without empty cells at the end"),
        pytest.param(EXCEL_DE.replace("demo;", " demo ; ").replace(";12;", "; 12 ;"), "utf-8", (), id="blanks"),
        pytest.param(EXCEL_US.replace("TEE", "\u00a0TEE "), "utf-8", (), id="blanks that do not break"),
        pytest.param(EXCEL_US.replace("12", "12.0").replace("7", "7.00"), "utf-8", (), id="decimals, US"),
        pytest.param(EXCEL_DE.replace("12", "12,0"), "utf-8", (), id="decimals, DE"),
        pytest.param(EXCEL_US.replace("shopId,sku", "SHOPID, Sku "), "utf-8", (), id="a header in another case"),
        pytest.param(EXCEL_US.replace("onHand", "On hand"), "utf-8", (), id="a header in words"),
    ],
)
def test_what_spreadsheets_save_is_read(content: str, encoding: str, notes: tuple[str, ...]) -> None:
    assert read(content, encoding) == Found(ROWS, notes)


@pytest.mark.parametrize("name", ["Lager, Süd", "SKU", "sep=,"])
def test_a_table_may_be_named_like_anything(name: str) -> None:
    assert read(f'"{name}"\n{EXCEL_US}').rows == ROWS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Table 1\n", "1 None: is 'Table 1', which is no header"),
        ("Table 1\ndemo,TEE,,,1,\n", "1 None: is 'Table 1', which is no header"),
        ("Table 1\nTable 2\nshopId,sku\n", "1 None: is 'Table 1', which is no header"),
        ("Table 1\nshopId,sku,variantKey\n", "2 productId: is missing from the header"),
        (f"Table 1\n{EXCEL_US}\nTable 2\n", "6 sku: is missing"),
    ],
)
def test_a_line_that_is_neither_a_table_s_name_nor_a_header_is_refused(content: str, said: str) -> None:
    assert refusal(content).startswith(said)


def test_columns_in_another_order_are_read_and_further_ones_are_named_once() -> None:
    content = (
        "Price;onHand;sku;Description;shopId;;variantKey;lowStockThreshold;productId\n"
        '9,90;12;TEE;"of cotton;\nso ""soft""";demo;x;größe:M;2;tee\n'
        "4,90;7;MUG;;demo;;;;\n"
    )
    assert read(content) == Found(ROWS, ("Ignored columns: Price, Description.",))


def test_a_problem_after_quoted_newlines_is_reported_at_its_own_line() -> None:
    content = f'{",".join(COLUMNS)},note\ndemo,TEE,,,1,,"a\nb\nc"\ndemo,MUG,,,x,,\n'
    assert refusal(content).startswith("5 onHand: ")


@pytest.mark.parametrize(
    ("values", "read_as"),
    [
        (("1 250", "12"), ["1250", "12"]),
        (("1\u00a0250\u00a0000", "1\u202f250"), ["1250000", "1250"]),
        (("1'250", "1\u2019250,00"), ["1250", "1250"]),
        (("1.250,00", "1.250"), ["1250", "1250"]),
        (("1,250", "1,250.0"), ["1250", "1250"]),
        (("1.250", "1.250.000"), ["1250", "1250000"]),
        (("1,250", "12.0"), ["1250", "12"]),
        (("12.000", "7.00"), ["12", "7"]),
        (("1.250", "7,0", "12"), ["1250", "7", "12"]),
        (("0.000", "12.000"), ["0", "12"]),
        (("1250.000",), ["1250"]),
    ],
)
def test_a_number_with_separators_is_read_where_the_files_own_numbers_tell_how(
    values: tuple[str, ...], read_as: list[str]
) -> None:
    assert counts(*values) == read_as


def test_how_a_number_was_read_is_said_with_the_place_that_tells_it() -> None:
    content = f"{';'.join(COLUMNS)}\ndemo;A;;;1.250;\ndemo;B;;;12,0;\n"
    assert read(content).notes == (
        "Numbers were read with points for thousands and commas for decimals, as in line 3 ('12,0').",
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("1.250",), "2 onHand: is '1.250', which can be 1250 or 1.25: write it in digits only"),
        (("12", "12,000"), "3 onHand: is '12,000', which can be 12000 or 12: write it in digits only"),
        (("1.250", "12,0", "12.0"), "2 onHand: is '1.250', which can be 1250 or 1.25: write it in digits only"),
        (("1.250", "12.0"), "2 onHand: must be a whole number, 0 to 1000000000, in digits only, not '1.250'"),
        (("1 2504",), "2 onHand: must be a whole number, 0 to 1000000000, in digits only, not '1 2504'"),
        (("1.25.000",), "2 onHand: must be a whole number, 0 to 1000000000, in digits only, not '1.25.000'"),
        (("1E+05",), "2 onHand: is '1E+05', in scientific notation: format the column as a number, 0 decimals"),
        (("1,2E+05",), "2 onHand: is '1,2E+05', in scientific notation: format the column as a number, 0 decimals"),
    ],
)
def test_a_number_that_can_be_misread_is_refused(values: tuple[str, ...], said: str) -> None:
    rows = "".join(f"demo;S{number};;;{value};\n" for number, value in enumerate(values))
    assert refusal(f"{';'.join(COLUMNS)}\n{rows}") == said


def test_a_row_of_another_shop_is_refused_where_one_shop_is_meant() -> None:
    assert read(EXCEL_DE, shop="demo").rows == ROWS
    content = EXCEL_DE.replace("demo;MUG", "Demo;MUG")
    assert refusal(content, shop="demo") == "3 shopId: is 'Demo', but this import is for the shop 'demo'"


def test_a_text_that_an_export_guarded_is_read_as_it_was() -> None:
    guarded = ["'=1+1", "x;'=1", "'\uff1d1", "a; ''@b", "'4E+12", "it's", "5'6"]
    rows = "".join(f'demo,"{sku}",,,1,\n' for sku in guarded)
    read_as = [row[1] for row in read(f"{','.join(COLUMNS)}\n{rows}").rows]
    assert read_as == ["=1+1", "x;=1", "\uff1d1", "a; '@b", "4E+12", "it's", "5'6"]
