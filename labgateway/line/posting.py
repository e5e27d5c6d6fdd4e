"""Messages of ours on an HL7 connection: one letter at a time, one message of it at a time, each answered before the next.

    letter = reply, order, order ...      a reply leaves at once: the instrument waits for it
                                          an order leaves when the line is free, and its answer (ORL, ACK) is awaited

Free: no message of the instrument is half here, or waits for its acknowledgment. Not a session: the conversation (mllp.py)
feeds it, sends for it and keeps its time. Nothing is tried again here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from labgateway.line.arrival import Refused, Told
from labgateway.protocols import hl7
from labgateway.protocols.mllp import Post

ANSWER_S = 20.0
"""How long an answer to a message of ours is awaited."""
NO_ANSWER = "the instrument did not answer"
CANCELLED = "it was withdrawn before it was sent"
LOST = "the connection was lost"


@dataclass(slots=True, eq=False)
class _Letter:
    posts: deque[Post]
    told: Told
    tag: object
    refused: list[str] = field(default_factory=list[str])

    @property
    def outcome(self) -> str:
        """How it went when all of it was answered."""
        return Refused(", ".join(dict.fromkeys(self.refused))) if self.refused else ""


class Posting:
    """The messages of ours on one connection. send: puts a block on the wire; free: whether the line is."""

    def __init__(self, send: Callable[[bytes], None], free: Callable[[], bool]) -> None:
        self._send = send
        self._free = free
        self._letters: deque[_Letter] = deque()
        self._awaited = ""
        self._deadline: float | None = None

    @property
    def deadline(self) -> float | None:
        """When ``tick`` must be called; None while no answer is awaited."""
        return self._deadline

    @property
    def waits(self) -> bool:
        """Whether a letter waits for the line."""
        return bool(self._letters) and not self._awaited

    def post(self, posts: Sequence[Post], told: Told, tag: object, now: float) -> None:
        """Send a letter. Replies at its beginning leave at once, the rest behind the letters that wait already."""
        letter = _Letter(deque(posts), told, tag)
        while letter.posts and not letter.posts[0].awaited:
            self._send(letter.posts.popleft().data)
        if not letter.posts:
            told("")
            return
        self._letters.append(letter)
        self.go_on(now)

    def go_on(self, now: float) -> None:
        """The next message, if the line is free and nothing is awaited."""
        while self._letters and not self._awaited and self._free():
            letter = self._letters[0]
            post = letter.posts.popleft()
            self._send(post.data)
            if post.awaited:
                self._awaited = post.awaited
                self._deadline = now + ANSWER_S
            elif not letter.posts:
                self._done(letter.outcome)

    def answered(self, message: hl7.Message, now: float) -> None:
        """An answer of the instrument; one that means nothing that is awaited (a repeat, or too late) changes nothing."""
        said = hl7.verdict(message)
        if said is None or not self._awaited or said.to != self._awaited:
            return
        self._awaited, self._deadline = "", None
        letter = self._letters[0]
        if said.passing:
            self._done(f"the instrument refused it: {said.refused}")
        else:
            if said.refused:
                letter.refused.append(said.refused)
            if not letter.posts:
                self._done(letter.outcome)
        self.go_on(now)

    def tick(self, now: float) -> None:
        """Time has passed: an answer that did not come is awaited no longer."""
        if self._deadline is not None and now >= self._deadline:
            self._awaited, self._deadline = "", None
            self._done(NO_ANSWER)
            self.go_on(now)

    def withdraw(self, which: Callable[[object], bool]) -> None:
        """Letters with such a tag are not wanted any more; what is on the wire already stays."""
        first = self._letters[0] if self._awaited else None
        gone = [one for one in self._letters if one is not first and which(one.tag)]
        for one in gone:
            self._letters.remove(one)
        if first is not None and which(first.tag):
            first.posts.clear()
        for one in gone:
            one.told(CANCELLED)

    def lost(self) -> None:
        """The connection is gone."""
        letters, self._letters = self._letters, deque()
        self._awaited, self._deadline = "", None
        for letter in letters:
            letter.told(LOST)

    def _done(self, why: str) -> None:
        self._letters.popleft().told(why)
