"""What the Temporal UI shows of a run: its step, and what somebody sent to it that had no effect."""

from temporalio import workflow

from workflows import ui_text

_SHOWN_NOTES = 5


class RunDetails:
    """The current details of a run."""

    _step = ""
    _notes: tuple[str, ...] = ()

    def show_step(self, step: str) -> None:
        """Show the step, as markdown, above the notes."""
        self._step = step
        workflow.set_current_details("\n\n".join([step, *self._notes]).strip())

    def note(self, text: str) -> None:
        """Log the text as an error and show it until the run ends, beside the last four others."""
        workflow.logger.error(text)
        self._notes = (*self._notes, ui_text.plain(text))[-_SHOWN_NOTES:]
        self.show_step(self._step)

    def note_cancellation(self) -> None:
        """Tell the person who requested a cancellation that the run goes on."""
        self.note("Request Cancellation has no effect on this workflow. Terminate it if its work must not be done.")
