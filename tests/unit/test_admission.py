"""The gate and its limit, by a clock that is moved by hand."""

import heapq
import itertools
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.adaptive_limit import AdaptiveLimit
from core.fair_gate import FairGate, GateClosedError, Ticket


def gate_of(limit: int, for_calm_shops: float = 0.5) -> FairGate:
    return FairGate(AdaptiveLimit(first=limit, least=limit, most=limit), for_calm_shops=for_calm_shops)


STEPS = st.lists(
    st.tuples(st.sampled_from(["arrive", "leave", "give up"]), st.sampled_from("abc"), st.floats(0, 0.3)), max_size=80
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(limit=st.integers(1, 4), share=st.sampled_from([0.0, 0.5]), steps=STEPS)
def test_a_gate_never_exceeds_its_limit_nor_leaves_room_while_a_call_waits(
    limit: int, share: float, steps: list[tuple[str, str, float]]
) -> None:
    gate, now = gate_of(limit, share), 0.0
    for_calm_shops = (limit + 1) // 2 if share else 0
    tickets: list[Ticket] = []
    for step, shop, seconds in steps:
        now += seconds
        inside = [ticket for ticket in tickets if ticket.entered is not None]
        waiting = [ticket for ticket in tickets if ticket.entered is None]
        if step == "arrive":
            try:
                tickets.append(gate.arrive(shop, patience=1.0, now=now))
            except GateClosedError:
                assert gate.is_full, "refused although there was room"
        elif step == "leave" and inside:
            tickets.remove(inside[0])
            gate.leave(inside[0], now)
        elif step == "give up" and waiting:
            tickets.remove(waiting[0])
            gate.give_up(waiting[0])
        shops_inside = {ticket.shop for ticket in tickets if ticket.entered is not None}
        shops_waiting = {ticket.shop for ticket in tickets if ticket.entered is None}
        assert gate.inside == sum(ticket.entered is not None for ticket in tickets) <= limit + for_calm_shops
        assert gate.waiting == sum(ticket.entered is None for ticket in tickets)
        assert not gate.waiting or gate.is_full
        assert shops_waiting <= shops_inside or gate.inside == limit + for_calm_shops


def test_a_calm_shop_is_served_at_once_or_next_however_many_calls_of_a_rushing_one_wait() -> None:
    gate = gate_of(2)
    inside = [gate.arrive("rush", 10.0, 0.0) for _ in range(2)]
    waiting = [gate.arrive("rush", 10.0, 0.0) for _ in range(50)]
    calm, calmer = gate.arrive("calm", 10.0, 0.1), gate.arrive("calmer", 10.0, 0.1)
    assert (calm.entered, calmer.entered) == (0.1, None)
    gate.leave(inside[0], 0.2)
    assert calmer.entered == 0.2
    gate.leave(inside[1], 0.3)
    assert [ticket.entered for ticket in waiting[:2]] == [0.3, None]
    gate.leave(calm, 0.4)
    assert waiting[1].entered is None, "the limit is used up, and its shop has a call inside"
    gate.leave(calmer, 0.5)
    assert waiting[1].entered == 0.5


def test_a_more_important_call_takes_the_room_of_another_but_not_of_the_last_one() -> None:
    paid = gate_of(32)
    creates = FairGate(AdaptiveLimit(first=3, least=3, most=3), first=paid)
    sales = [paid.arrive("shop", 1.0, 0.0) for _ in range(2)]
    one, two, three = (creates.arrive("shop", 1.0, 0.0) for _ in range(3))
    assert (one.entered, two.entered, three.entered) == (0.0, None, None)
    paid.leave(sales[0], 0.1)
    assert (two.entered, three.entered) == (0.1, None)
    sales += [paid.arrive("shop", 1.0, 0.2) for _ in range(9)]
    assert all(sale.entered is not None for sale in sales), "creates take no room of theirs"
    creates.leave(one, 0.3)
    assert three.entered is None
    creates.leave(two, 0.4)
    assert three.entered == 0.4, "one create at least may be inside"


def test_who_would_wait_too_long_is_refused_at_once_and_who_would_not_is_not() -> None:
    gate, now = gate_of(1), 0.0
    served = gate.arrive("rush", 1.0, now)
    for _ in range(50):  # ten calls a second
        following = gate.arrive("rush", 1.0, now)
        now += 0.1
        gate.leave(served, now)
        served = following
    for _ in range(20):
        with suppress(GateClosedError):
            gate.arrive("rush", 1.0, now)
    assert 8 <= gate.waiting <= 10  # so many end in the second for which a call may wait
    assert gate.arrive("calm", 1.0, now).entered == now
    assert gate.arrive("calmer", 1.0, now).entered is None, "it waits for one call only"


def test_who_comes_while_nothing_ends_is_refused() -> None:
    gate = gate_of(1)
    gate.arrive("shop", 1.0, 0.0)
    with pytest.raises(GateClosedError):
        gate.arrive("shop", 1.0, 10.0)


def test_the_youngest_is_served_first_once_the_oldest_waits_for_too_long() -> None:
    gate = gate_of(1)
    inside = gate.arrive("shop", 1.0, 0.0)
    old, young = gate.arrive("shop", 1.0, 0.0), gate.arrive("shop", 5.0, 1.5)
    gate.leave(inside, 2.5)
    assert (old.entered, young.entered) == (None, 2.5)
    gate.leave(young, 2.6)
    assert old.entered == 2.6


def simulate(
    limit: AdaptiveLimit, *, servers: int, service: float, calls: int, shops: tuple[str, ...] = ("shop",)
) -> float:
    """Serve a flood by so many servers, each call for so many seconds; return the mean time in the service."""
    gate, now, total = FairGate(limit), 0.0, 0.0
    free = [0.0] * servers
    ends: list[tuple[float, int, Ticket]] = []
    numbers = itertools.count()
    in_turn = itertools.cycle(shops)
    for _ in range(calls):
        while not gate.is_full:
            ticket = gate.arrive(next(in_turn), 1.0, now)
            end = max(now, heapq.heappop(free)) + service
            heapq.heappush(free, end)
            heapq.heappush(ends, (end, next(numbers), ticket))
        now, _, ticket = heapq.heappop(ends)
        assert ticket.entered is not None
        total += now - ticket.entered
        limit.answered("create", now - ticket.entered, shop=ticket.shop, full=gate.is_full, now=now)
        gate.leave(ticket, now)
    return total / calls


@pytest.mark.parametrize("first", [1, 16, 100])
@pytest.mark.parametrize(("servers", "service"), [(1, 0.02), (4, 0.05), (20, 1.0)])
def test_the_limit_keeps_the_service_busy_with_few_calls_waiting_wherever_it_starts(
    first: int, servers: int, service: float
) -> None:
    limit = AdaptiveLimit(first=first, least=1, most=400)
    simulate(limit, servers=servers, service=service, calls=1000)
    assert servers <= limit.value <= servers + 8


@pytest.mark.parametrize("servers", [1, 4, 20])
def test_fewer_wait_while_several_shops_are_served_and_the_service_stays_busy(servers: int) -> None:
    limit = AdaptiveLimit(first=16, least=1, most=400)
    simulate(limit, servers=servers, service=0.05, calls=1000)
    of_several = AdaptiveLimit(first=16, least=1, most=400)
    simulate(of_several, servers=servers, service=0.05, calls=1000, shops=("rush", "rush", "rush", "calm"))
    assert servers <= of_several.value < limit.value


def test_the_limit_is_that_of_one_shop_once_it_alone_was_served_for_a_minute() -> None:
    def limit_after(seconds_alone: float) -> int:
        limit = AdaptiveLimit(first=8, least=1, most=400)
        for shop in ("calm", "rush"):
            limit.answered("create", 0.05, shop=shop, full=True, now=0.0)
        for _ in range(200):  # of eight, three wait
            limit.answered("create", 0.08, shop="rush", full=True, now=seconds_alone)
        return limit.value

    assert limit_after(seconds_alone=0.0) < 8
    assert limit_after(seconds_alone=61.0) == limit_after(seconds_alone=1000.0) == 8


def test_calls_of_different_kinds_are_not_taken_for_slow_ones_of_one_kind() -> None:
    limit = AdaptiveLimit(first=32, least=16, most=400)
    for _ in range(300):
        for kind, seconds in (("extend", 0.02), ("attach", 1.0)):
            limit.answered(kind, seconds, shop="shop", full=True, now=0.0)
    assert limit.value > 32


def test_time_outs_shrink_the_limit_to_its_least_and_no_further() -> None:
    limit = AdaptiveLimit(first=100, least=4, most=400)
    for _ in range(100):
        limit.timed_out()
    assert limit.value == 4
