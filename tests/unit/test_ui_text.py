"""What a person reads in the Temporal UI."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from domain.holds import Line, ReferenceTaken, Shortage, ShortItem
from tests.documents import ROOT
from workflows import ui_text
from workflows.messages import HoldInput


def hold(*lines: Line, reference: str | None = None) -> HoldInput:
    return HoldInput("demo", "cart-1", lines, 1200, 3600, 5000, reference=reference)


def test_the_summary_names_shop_reference_and_items() -> None:
    mug, tee = Line("MUG", "", 1), Line("TEE", "size:M", 2)

    assert ui_text.summary(hold(mug, tee, reference="order-1001")) == "demo, order-1001: 1 x MUG, 2 x TEE size:M"
    assert ui_text.summary(hold(mug)) == "demo: 1 x MUG"


def test_a_callers_text_is_no_markup() -> None:
    text = ui_text.summary(hold(Line("![i](http://e.x/i.png)", "<b>", 1)))

    assert text == "demo: 1 x !\\[i\\](http\\://e.x/i.png) \\<b\\>"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("https://e.x/a_b", r"https\://e.x/a_b"),
        ("MAILTO:a@e.x", r"MAILTO\:a@e.x"),
        ("size:M", "size:M"),
        ("_em_ and __strong__", r"\_em\_ and \_\_strong\_\_"),
        ("cancelled_in_temporal", "cancelled_in_temporal"),
        ("~~gone~~ $x$ A--B &copy; R&D", r"\~\~gone\~\~ \$x\$ A\-\-B \&copy; R&D"),
        ("a\n# b", "a # b"),
    ],
)
def test_a_callers_text_is_neither_link_nor_emphasis_nor_heading(text: str, escaped: str) -> None:
    assert ui_text.plain(text) == escaped


def test_texts_stay_within_what_the_server_takes() -> None:
    lines = tuple(Line("😀" * 200, "😀" * 200, 1) for _ in range(100))

    assert len(ui_text.summary(hold(*lines)).encode()) <= 400
    assert len(ui_text.details(hold(*lines)).encode()) <= 20_000
    assert len(ui_text.end("released", "😀" * 200).encode()) <= 400
    assert ui_text.summary(hold(*lines)).endswith("…")


def test_a_refusal_says_why() -> None:
    short = (
        ShortItem("POSTER", "", 2, 1),
        ShortItem("TEE", "size:M", 3, 0, known=False),
        ShortItem("CAP", "", 1, 0, retired=True),
    )

    assert ui_text.refusal(Shortage(short)) == (
        "Refused: not enough stock of POSTER (2 asked, 1 there), TEE size:M (no such item), CAP (retired)."
    )
    assert ui_text.refusal(ReferenceTaken("h_1")) == "Refused: the active hold h_1 has the reference."


def test_an_end_gives_its_reason_once() -> None:
    assert ui_text.end("committed", "committed") == "committed"
    assert ui_text.end("expired", "deadline") == "expired: deadline"


def test_each_link_of_the_operations_page_opens_the_query_beside_it() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| .* \| `(.*)` \| \[open\]\((.*)\) \|$", page, re.MULTILINE)
    assert rows
    assert [query for query, link in rows if parse_qs(urlsplit(link).query) != {"query": [query]}] == []
    assert [
        query for query, _ in rows if 'HoldStatus="active"' in query and 'ExecutionStatus="Running"' not in query
    ] == []
