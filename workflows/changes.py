"""Changes of an active hold: its items, reference, buyer and deadline, and the page to pay on that goes with them."""

from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import workflow

from domain.amendments import Amended, AmendRequest, NotActive
from domain.holds import Held
from workflows import activity_calls
from workflows.hold_state import HoldState
from workflows.messages import Amend, AmendAnswer, Cancel, HoldInput, MadeWay, MakeWay
from workflows.payment_messages import CheckoutOpened, CheckoutOutcome
from workflows.payment_steps import PaymentSteps


class Changes:
    """The changes of one hold, made one after the other, and the answer to each."""

    def __init__(self, hold: HoldInput, state: HoldState, steps: PaymentSteps) -> None:
        self._hold = hold
        self._state = state
        self._steps = steps
        self._made: dict[str, tuple[Amend, AmendAnswer]] = {}
        self._refused: dict[str, AmendAnswer] = {}
        self._opening: set[str] = set()
        """The ids of the requests whose page is being opened."""
        self.lines, self.reference, self.buyer = hold.lines, hold.reference, hold.buyer
        self.made_way: dict[str, MadeWay] = {}
        self._closed: str | None = None
        """The page that was closed for a change which was not made then: the next answer names it."""

    def adopt(self, held: Held) -> None:
        """Use what the hold's row has."""
        self.lines, self.reference, self.buyer = held.lines, held.reference, held.buyer

    @property
    def pages(self) -> tuple[tuple[Amend, AmendAnswer], ...]:
        """The changes that opened a page, with their answers."""
        return tuple((request, answer) for request, answer in self._made.values() if answer.checkout is not None)

    def restore(self, pages: tuple[tuple[Amend, AmendAnswer], ...]) -> None:
        """Restore what the earlier run knew."""
        self._made.update({request.request_id: (request, answer) for request, answer in pages})

    def is_another(self, request: Amend) -> bool:
        """Return whether the request's id belongs to another change."""
        known = [each for each in self._state.changes if isinstance(each, Amend)]
        known += [each for each, _ in self._made.values()]
        return any(
            each.request_id == request.request_id and each.request_hash != request.request_hash for each in known
        )

    def record(self, request: Amend) -> None:
        """Record a request. One that was refused before is made anew: the reason may no longer hold."""
        self._refused.pop(request.request_id, None)
        waiting = {each.request_id for each in self._state.changes} | self._opening
        if request.request_id not in waiting | self._made.keys():
            self._state.changes.append(request)
            self._state.changed()

    def answer_to(self, request: Amend) -> AmendAnswer | None:
        """Return the answer to a request, None while there is none."""
        if request.request_id in self._made:
            return self._made[request.request_id][1]
        return self._refused.get(request.request_id)

    async def make_way(self, request: MakeWay) -> None:
        """Close the hold's payment; its units stay held until another hold takes them over."""
        refused, _page = await self._steps.clear(own_only=False)
        if refused is None and self._ends:
            return  # its end is the answer
        self._state.changes.remove(request)
        self.made_way[request.request_id] = MadeWay(refused)
        self._state.changed()

    async def amend(self, request: Amend, created_at: datetime) -> Amended | None:
        """Make the change and begin to open its page, and answer. Returns the hold if its row was changed."""
        closed = None
        differs = request.lines is not None and set(request.lines) != set(self.lines)  # the row has them in its order
        if differs or request.checkout is not None:
            refused, closed = await self._steps.clear(own_only=True)
            if refused is not None:  # also beside a cancel that waits for the payment: `decide` would come here again
                self._answer(request, AmendAnswer(refused=refused))
                return None
            if self._ends:
                return None  # its end is the answer
            closed = self._closed = closed or self._closed
        answer = AmendAnswer(closed_session=closed, call_id=request.call_id)
        if differs or request.checkout is None:
            outcome = await activity_calls.amend(self._statement(request, created_at, closed))
            answer = replace(answer, outcome=outcome)
            if not isinstance(outcome, Amended):
                self._answer(request, answer)
                if isinstance(outcome, NotActive):  # something else ended it: settle returns its status
                    self._state.record_cancel(Cancel(actor="holdfast", reason="ended_elsewhere"))
                return None
            self.lines, self.reference, self.buyer = outcome.lines, outcome.reference, outcome.buyer
        self._closed = None
        if request.checkout is None:
            self._answer(request, answer, made=True)
        else:
            self._begin_checkout(request, answer, created_at)
        return answer.outcome if isinstance(answer.outcome, Amended) else None

    @property
    def _ends(self) -> bool:
        """Whether the next decision ends the hold: nothing is processing any more once the payment was cleared."""
        return self._state.paid or self._state.cancel is not None

    def _statement(self, request: Amend, created_at: datetime, closed: str | None) -> AmendRequest:
        deadline = None
        if request.ttl_seconds is not None:
            ceiling = created_at + timedelta(seconds=self._hold.max_ttl_seconds)
            deadline = min(workflow.now() + timedelta(seconds=request.ttl_seconds), ceiling)
        return AmendRequest(
            shop_id=self._hold.shop_id,
            hold_id=self._hold.hold_id,
            request_id=request.request_id,
            request_hash=request.request_hash,
            actor=request.actor,
            lines=request.lines,
            reference=request.reference,
            buyer=request.buyer,
            expires_at=deadline,
            closed_session=closed,
        )

    def _begin_checkout(self, request: Amend, answer: AmendAnswer, created_at: datetime) -> None:
        assert request.checkout is not None  # noqa: S101 - narrows the type
        self._state.changes.remove(request)
        self._opening.add(request.request_id)

        def opened(outcome: CheckoutOutcome) -> None:
            self._opening.discard(request.request_id)
            self._keep(request, replace(answer, checkout=outcome), made=isinstance(outcome, CheckoutOpened))

        # The same request after a page was closed, in a run that does not know its answer, needs another page.
        attempt = f"{request.request_id}:{answer.closed_session or ''}"
        self._steps.begin_another_checkout(request.checkout, attempt, created_at, opened)

    def _answer(self, request: Amend, answer: AmendAnswer, *, made: bool = False) -> None:
        self._state.changes.remove(request)
        self._keep(request, answer, made=made)

    def _keep(self, request: Amend, answer: AmendAnswer, *, made: bool) -> None:
        if made:
            self._made[request.request_id] = (request, answer)
        else:
            self._refused[request.request_id] = answer
        self._state.changed()
