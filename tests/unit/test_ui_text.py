"""What a person reads in the Temporal UI."""

from workflows import ui_text as legible
from workflows.messages import HoldInput, Line, ReferenceTaken, Shortage, ShortItem


def hold(*lines: Line, reference: str | None = None) -> HoldInput:
    return HoldInput("demo", "cart-1", list(lines), 1200, 3600, 5000, reference=reference)


def test_the_summary_names_shop_reference_and_items() -> None:
    mug, tee = Line("MUG", "", 1), Line("TEE", "size:M", 2)

    assert legible.summary(hold(mug, tee, reference="order-1001")) == "demo, order-1001: 1 x MUG, 2 x TEE size:M"
    assert legible.summary(hold(mug)) == "demo: 1 x MUG"


def test_a_callers_text_is_no_markup() -> None:
    text = legible.summary(hold(Line("![i](http://e.x/i.png)", "<b>", 1)))

    assert text == "demo: 1 x !\\[i\\](http://e.x/i.png) \\<b\\>"


def test_texts_stay_within_what_the_server_takes() -> None:
    lines = [Line("😀" * 200, "😀" * 200, 1) for _ in range(100)]

    assert len(legible.summary(hold(*lines)).encode()) <= 400
    assert len(legible.details(hold(*lines)).encode()) <= 20_000
    assert len(legible.end("released", "😀" * 200).encode()) <= 400
    assert legible.summary(hold(*lines)).endswith("…")


def test_a_refusal_says_why() -> None:
    short = Shortage([ShortItem("POSTER", "", 2, 1), ShortItem("TEE", "size:M", 3, 0)])

    assert legible.refusal(short) == (
        "Refused: not enough stock of POSTER (2 asked, 1 there), TEE size:M (3 asked, 0 there)."
    )
    assert legible.refusal(ReferenceTaken("h_1")) == "Refused: the active hold h_1 has the reference."


def test_an_end_gives_its_reason_once() -> None:
    assert legible.end("committed", "committed") == "committed"
    assert legible.end("expired", "deadline") == "expired: deadline"
