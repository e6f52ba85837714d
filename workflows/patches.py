"""The names of the workflows' patches: a run whose history lacks one keeps to the commands that it has recorded."""

GRACE_ENDS_EARLY = "grace-ends-early"
"""Since then the failure of a payment ends its grace period."""

END_KEEPS_HOLD = "end-of-own-payment-keeps-the-hold"
"""Since then the end of a payment that the shop opened does not release the hold."""

ATTACHES_ANEW = "attaches-anew"
"""Since then a payment whose place another one took can be attached again."""

CONTINUE_AS_NEW = "continue-as-new"
"""Since then a run continues as a new one before Temporal's limits of one run."""

EMPTY_SIGNALS = "empty-signals-have-no-data"
"""Since then a signal with an empty value counts as one without data."""

LATE_PAYMENT_CONTINUES = "late-payment-continues-as-new"
"""Since then a late payment that waits for its hold continues as a new run."""

WARNS_OF_EXPIRY = "warns-of-expiry"
"""Since then a hold that asked for it warns before its deadline."""

ANSWERS_WITHOUT_CHECKOUT = "answer-without-checkout"
"""Since then the update that waits for a checkout is answered by a run that has none."""

KEEPS_TIMER = "keeps-timer"
"""Since then the timer of a hold goes on when a message changes nothing."""

LOCAL_END = "ends-in-a-local-activity"
"""Since then a hold without a payment to close is released or expires in a local activity."""

DOUBTS_EARLIER_PAGES = "doubts-earlier-pages"
"""Since then a payment on a page that was closed for a change of the hold does not buy it."""

DOUBTS_RECOVERED_PAGES = "doubts-recovered-pages"
"""Since then a payment on a copy of an expired page does not buy a hold whose cart was changed."""

DOUBTS_UNDER_WAY = "doubts-payments-under-way"
"""Since then a payment is traced to its first page also when it was under way first, or when it is attached."""

LATE_TAKES_NOTHING = "late-start-takes-nothing"
"""Since then a new hold whose caller has gone before its first task ends without a statement."""
