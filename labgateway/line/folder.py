"""One file of a folder line: its messages kept, then it is moved aside. The session of a transports.folder.FileChannel.

    content -> messages -> keep each, once -> all on disk -> readable? -> done/
                                          `-> the store cannot: it stays where it is

``once``: the same message of the same instrument is kept a single time, so that neither a crash between commit and
move nor the same file again makes a second one.
"""

from __future__ import annotations

from collections.abc import Callable

from labgateway.errors import Problem, StoreError
from labgateway.line.arrival import Arrival
from labgateway.line.wiring import Wiring
from labgateway.protocols import astm_frames, hl7
from labgateway.transports.folder import MAX_FILE_BYTES, FileChannel
from labgateway.transports.threads import in_thread

Judge = Callable[[bytes], Problem | None]
"""Why a message cannot be read; None when it can. Called in a thread: a workbook may take a second. Must not raise."""


def readable(message: bytes) -> Problem | None:
    """Judge nothing."""
    del message
    return None


def messages_in(protocol: str, data: bytes) -> list[bytes]:
    """The messages of a file. What is damaged, or no text of this protocol, stays together: it is for a person."""
    match protocol:
        case "hl7":
            return list(hl7.messages(data)) or [data]
        case "astm":
            unframed = astm_frames.unframe(data)
            return [data] if unframed.damage or not unframed.messages else unframed.messages
        case _:
            return [data]


class FileConversation:
    """A Session of one file."""

    def __init__(self, wiring: Wiring, channel: FileChannel, protocol: str, judge: Judge = readable) -> None:
        self._wiring = wiring
        self._channel = channel
        self._protocol = protocol
        self._judge = judge
        self._messages: list[bytes] = []
        self._waiting = 0
        self._failed = False
        self.number = wiring.number()
        self.busy = False
        """Means nothing to a file: it waits where it is."""

    def received(self, data: bytes) -> None:
        """See Session. The whole file in one piece."""
        wiring, channel = self._wiring, self._channel
        wiring.stats.last_byte_at = wiring.clock()
        if channel.too_long:
            why = f"longer than {MAX_FILE_BYTES} bytes; only its beginning is kept"
            self._messages = [data]
            self._waiting = 1
            self._keep(data, why)
            return
        self._messages = messages_in(self._protocol, data)
        self._waiting = len(self._messages)
        for message in self._messages:
            self._keep(message)

    def disconnected(self, why: str) -> None:
        """See Session."""
        self._wiring.ended(self, why)

    def _keep(self, message: bytes, why: str = "") -> None:
        wiring = self._wiring

        def done(error: StoreError | None) -> None:
            self._waiting -= 1
            if error is not None:
                self._failed = True
                wiring.failed(error)
            elif why:
                wiring.stats.incomplete += 1
            else:
                wiring.stats.messages += 1
                wiring.stats.last_message_at = wiring.clock()
            if not self._waiting:
                self._all_done(why)

        key = f"{self.number}.{wiring.number()}"
        wiring.keep(
            Arrival(
                wiring.name, self._protocol, self._channel.peer, message, not why, why,
                key=key, conversation=self.number, once=True,
            ),
            done,
        )  # fmt: skip

    def _all_done(self, why: str) -> None:
        if self._failed:
            self._channel.abort()
        elif why:
            self._channel.refuse(f"The file is {why}.")
        else:
            in_thread(self._judged).add_done_callback(lambda found: self._move(found.result()))

    def _judged(self) -> str:
        """Why this file cannot be read, message by message; "" when all of it can."""
        found = [(number, self._judge(message)) for number, message in enumerate(self._messages, 1)]
        several = len(found) > 1
        return "\n".join(_words(problem, number if several else 0) for number, problem in found if problem is not None)

    def _move(self, refused: str) -> None:
        if refused:
            self._wiring.say("line.file_refused", instrument=self._wiring.name, peer=self._channel.peer)
            self._channel.refuse(refused)
        else:
            self._channel.keep()


def _words(problem: Problem, number: int) -> str:
    where = f"message {number}: " if number else ""
    return f"{where}{problem.reason.what} ({problem.detail}) {problem.reason.cure}"
