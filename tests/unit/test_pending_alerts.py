"""Which falls of a shop's items a digest tells, and when it is due."""

from datetime import UTC, datetime, timedelta

from workflows.pending_alerts import MAX_LISTED, QUIET_PERIOD, ItemFall, PendingAlerts, item_key

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=10)


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def fall(sku: str, minutes: float = 0) -> ItemFall:
    return ItemFall(sku, "", f"{sku}-{minutes}", after(minutes))


def pending(*falls: ItemFall) -> PendingAlerts:
    made = PendingAlerts()
    for one in falls:
        made.add(one, one.at, WINDOW)
    return made


def report(alerts: PendingAlerts, now: datetime) -> list[str]:
    """Send a digest in which every item is still low, and return the skus in it."""
    falls, _ = alerts.take(now)
    alerts.finish(falls, {item_key(one.sku, "") for one in falls}, now, WINDOW)
    return [one.sku for one in falls]


def test_a_digest_is_due_one_window_after_the_first_fall_and_has_all_until_then() -> None:
    alerts = pending(fall("a"), fall("b", 9))
    assert alerts.due(WINDOW) == after(10)
    assert report(alerts, after(10)) == ["a", "b"]
    assert alerts.due(WINDOW) is None


def test_no_two_digests_are_due_within_a_window() -> None:
    alerts = pending(fall("a"))
    report(alerts, after(10))
    alerts.add(fall("a", 20), after(20), WINDOW)
    day_later = after(10) + QUIET_PERIOD
    assert alerts.due(WINDOW) == day_later
    alerts.add(fall("b", 24 * 60 - 5), day_later - timedelta(minutes=15), WINDOW)
    assert alerts.due(WINDOW) == day_later - timedelta(minutes=5)
    assert report(alerts, day_later - timedelta(minutes=5)) == ["b"]
    assert alerts.due(WINDOW) == day_later + timedelta(minutes=5)
    assert report(alerts, day_later + timedelta(minutes=5)) == ["a"]


def test_an_item_that_was_not_low_any_more_has_no_quiet_period() -> None:
    alerts = pending(fall("a"))
    falls, _ = alerts.take(after(10))
    alerts.finish(falls, set(), after(10), WINDOW)
    alerts.add(fall("a", 11), after(11), WINDOW)
    assert alerts.due(WINDOW) == after(21)


def test_what_a_digest_cannot_list_is_counted_and_new_falls_come_before_repeated_ones() -> None:
    alerts = pending(*(fall(f"old-{n}") for n in range(MAX_LISTED)))
    report(alerts, after(10))
    for n in range(MAX_LISTED):
        alerts.add(fall(f"old-{n}", 20), after(20), WINDOW)
    alerts.add(fall("new", 20), after(20), WINDOW)
    falls, unlisted = alerts.take(after(30))
    assert ([one.sku for one in falls], unlisted) == (["new"], 1)


def test_no_two_items_share_a_key() -> None:
    names = [("a:b", "c"), ("a", "b:c"), ("a", ":b:c"), ("a:", "b:c"), ("ab", ""), ("a", "b")]
    assert len({item_key(*name) for name in names}) == len(names)
