"""A worker of a next release, whose holds ask Temporal for one thing more: `python -m tests.rollout.next_release`.

It is changed as docs/runbooks/releases.md#change-workflow-code says, behind a patch.
"""

import sys
from datetime import timedelta

from temporalio import workflow

import worker
from workflows.hold import HoldWorkflow
from workflows.messages import EndStatus

PATCH = "a-moment-more"

_before = HoldWorkflow._wait_and_settle


async def _changed(self: HoldWorkflow) -> EndStatus:
    if workflow.patched(PATCH):
        await workflow.sleep(timedelta(milliseconds=1))
    return await _before(self)


def main() -> int:
    """Run the worker and return the exit code of the process."""
    HoldWorkflow._wait_and_settle = _changed  # type: ignore[method-assign]
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
