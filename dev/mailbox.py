"""The mailbox of `holdfast up`: an SMTP server on 127.0.0.1 that writes every e-mail to a folder.

Run as `python -m dev.mailbox --port P --folder F`.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import Sequence
from email import message_from_bytes, policy
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

_SUBJECT_LETTERS = 60


class Mailbox:
    """Writes each e-mail atomically as an .eml file, named by time and subject."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Store the e-mail."""
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        subject = str(message_from_bytes(content, policy=policy.default)["Subject"] or "no subject")
        letters = "".join(c if c.isalnum() and c.isascii() else "-" for c in subject)[:_SUBJECT_LETTERS].strip("-")
        name = f"{time.strftime('%Y-%m-%dT%H%M%S')}-{time.time_ns() % 1_000_000_000:09}-{letters}.eml"
        draft = self._folder / f".{name}"
        draft.write_bytes(content)
        draft.replace(self._folder / name)
        print(f"mail to {', '.join(envelope.rcpt_tos)}: {name}", flush=True)
        return "250 OK"


async def serve(port: int, folder: Path) -> None:
    """Accept e-mail until SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(lambda: SMTP(Mailbox(folder), loop=loop), "127.0.0.1", port)
    await stop.wait()
    server.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m dev.mailbox", description="Write received e-mail to a folder.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(serve(options.port, options.folder))


if __name__ == "__main__":
    main()
