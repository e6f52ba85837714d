"""What tells a repeat from another request: the hold's id and the digest of what was asked; and cursors."""

from datetime import UTC, datetime

import pytest

from api import cursor
from api.errors import ApiError
from api.requests import ItemsQuery, LineIn, merged
from domain.holds import Line
from holds.idempotency import hold_id_for, request_hash

ASKED = ("holds", "shop", (Line("TEE", "", 2), Line("MUG", "", 1)), 1200, "order-1")


def test_a_key_determines_the_id_within_its_shop() -> None:
    assert hold_id_for("shop", None, "key") == hold_id_for("shop", None, "key")
    assert hold_id_for("shop", None, "key") != hold_id_for("shop-2", None, "key")
    assert hold_id_for("shop", None, "key") != hold_id_for("shop", None, "key2")


def test_shop_and_key_are_not_run_together() -> None:
    assert hold_id_for("a", None, "bc") != hold_id_for("ab", None, "c")


def test_a_given_id_wins_and_without_any_each_is_new() -> None:
    assert hold_id_for("shop", "mine", "key") == "mine"
    assert hold_id_for("shop", None, None) != hold_id_for("shop", None, None)


def test_an_id_that_we_make_is_one_that_we_take() -> None:
    for made in (hold_id_for("shop", None, "key"), hold_id_for("shop", None, None)):
        assert made.startswith("h_")
        assert made.replace("_", "").isalnum()
        assert len(made) <= 128


@pytest.mark.parametrize(
    ("place", "other"),
    [(0, "checkout"), (1, "shop-2"), (2, (Line("TEE", "", 1), Line("MUG", "", 1))), (2, (Line("TEE", "", 2),)),
     (2, (Line("TEE", "x", 2), Line("MUG", "", 1))), (3, None), (3, 600), (4, None), (4, "order-2")],
)  # fmt: skip
def test_whatever_was_asked_for_counts(place: int, other: object) -> None:
    changed = (*ASKED[:place], other, *ASKED[place + 1 :])
    assert request_hash(*changed) != request_hash(*ASKED)  # type: ignore[arg-type]


def test_the_digest_stays_what_it_was_for_holds_in_the_database() -> None:
    assert request_hash(*ASKED) == "f2a5370bfda29ad4cdc5903cad25dc5c5c4eea0c7f2a4fbcbcc8318793cfb0d4"


def test_the_same_demand_in_other_lines_is_the_same() -> None:
    def line(sku: str, quantity: int) -> LineIn:
        return LineIn(sku=sku, quantity=quantity)

    assert merged([line("B", 1), line("A", 1), line("B", 2)]) == merged([line("A", 1), line("B", 3)])
    assert merged([line("B", 1), line("A", 1)]) == (Line("A", "", 1), Line("B", "", 1))


@pytest.mark.parametrize("parts", [("TEE", "size:M"), ("ä鍵👕", ""), ('"],[', "\\"), ("a" * 200, "b" * 200)])
def test_a_cursor_comes_back_as_it_went(parts: tuple[str, str]) -> None:
    sent = cursor.encode(*parts)
    assert cursor.decode(sent) == parts
    assert all(c.isalnum() or c in "-_" for c in sent)


def test_a_cursor_of_a_time_comes_back_to_the_microsecond() -> None:
    at = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
    assert cursor.decode_time(cursor.encode(at, "h_1")) == (at, "h_1")
    assert cursor.decode_time(None) is None


def test_a_cursor_of_items_fits_into_a_query() -> None:
    widest = cursor.encode("\N{T-SHIRT}" * 200, "\N{T-SHIRT}" * 200)
    assert ItemsQuery.model_validate({"shopId": "demo", "cursor": widest}).cursor == widest


@pytest.mark.parametrize("text", ["", "x", "W10", "WzFd", "WyJhIl0", "!!!!", "ä", "WyJhIiwgIlx1MDAwMCJd"])
def test_what_no_page_gave_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="cursor"):
        cursor.decode(text)


@pytest.mark.parametrize("first", ["yesterday", "2026-11-22", "2026-11-22T10:00:00", ""])
def test_a_cursor_without_a_time_and_its_zone_is_refused(first: str) -> None:
    with pytest.raises(ApiError, match="cursor"):
        cursor.decode_time(cursor.encode(first, "h_1"))
