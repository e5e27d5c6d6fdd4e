"""RS-232 lines: a serial port as a transport, reopened by its path whenever it was unplugged. Knows no protocol.

    open (in a thread) -> session -> bytes ... -> unplugged -> wait <= 2 s -> open ...

pyserial sets the port; reading and writing are the event loop's own, because pyserial-asyncio-fast 0.16 fails
assertions in the loop. Give the stable path (/dev/serial/by-id/...): ttyUSB0 may be ttyUSB1 after a replug.
``socket://host:port`` and ``rfc2217://host:port`` (serial-to-Ethernet converters) go through pyserial in two
threads; a raw converter is better a ``tcp`` line.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import importlib
import os
import queue
import random as random_module
import socket
import termios
import threading
from collections.abc import Callable
from typing import Any, Literal

from labgateway.transports.channel import OpenSession, Say, Session, Sparing, backoff_s, quiet
from labgateway.transports.connection import tune, words
from labgateway.transports.threads import in_thread

Parity = Literal["none", "even", "odd", "mark", "space"]
Flow = Literal["none", "rts/cts", "dsr/dtr", "xon/xoff"]

READ_BYTES = 65536
WRITE_LIMIT_BYTES = 1 << 20
FIRST_S, MOST_S = 0.25, 2.0
"""Between attempts to open: an analyzer that was plugged in again is served within 2 s (issue: within 2 s seen)."""
STOP_S = 1.0
THREAD_READ_S = 0.2

_PARITIES: dict[Parity, str] = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}


class SerialPort:
    """One serial port; the same for as long as the gateway runs, whatever happens to the cable.

    device: a path, or a URL of pyserial. baud: any the driver knows; bits 5 to 8; stop 1, 1.5 or 2. The port is
    opened exclusively: a second gateway, or a terminal program, is refused. random: gives [0, 1).
    """

    def __init__(
        self,
        device: str,
        open_session: OpenSession,
        *,
        baud: int = 9600,
        bits: int = 8,
        parity: Parity = "none",
        stop: float = 1,
        flow: Flow = "none",
        say: Say = quiet,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.device = device
        self._settings: dict[str, Any] = {
            "baudrate": baud,
            "bytesize": bits,
            "parity": _PARITIES[parity],
            "stopbits": stop,
            "rtscts": flow == "rts/cts",
            "dsrdtr": flow == "dsr/dtr",
            "xonxoff": flow == "xon/xoff",
        }
        self._open_session = open_session
        self._say = say
        self._sparing: Say = say
        self._random = random
        self._task: asyncio.Task[None] | None = None
        self._line: _Line | None = None
        self._trouble = "not started"

    @property
    def trouble(self) -> str:
        """See Transport."""
        return self._trouble

    async def start(self) -> None:
        """Begin to open the port; returns at once. Raises nothing: an adapter may be plugged in tomorrow."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._sparing = Sparing(self._say, loop.time)
            self._trouble = "opening"
            self._task = loop.create_task(self._run())

    async def stop(self) -> None:
        """Close the port; what was being sent gets STOP_S to leave."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        line = self._line
        if line is not None:
            line.close()
            await asyncio.wait([line.gone], timeout=STOP_S)
            line.end("labgateway closed the line")
        await asyncio.gather(task, return_exceptions=True)
        self._trouble = "stopped"

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            try:
                port = await in_thread(self._open, too_late=lambda port: port.close())
            except (OSError, ValueError, termios.error) as error:
                self._trouble = f"cannot open {self.device}: {_words(error)}"
                self._sparing("line.cannot_open", device=self.device, error=_words(error))
            else:
                attempt = 0
                self._trouble = ""
                kind = _Tty if "://" not in self.device else _Threaded
                self._line = line = kind(port, self.device, loop, self._sparing)
                line.begin(self._open_session)
                await asyncio.shield(line.gone)
                self._line = None
                self._trouble = f"{self.device}: {line.why}; opening it again"
            await asyncio.sleep(backoff_s(attempt, self._random, first_s=FIRST_S, most_s=MOST_S))
            attempt += 1

    def _open(self) -> Any:
        """Open and set the port. In a thread: a modem line or a converter may take seconds."""
        serial: Any = importlib.import_module("serial")
        if "://" in self.device:
            port = serial.serial_for_url(self.device, timeout=THREAD_READ_S, **self._settings)
            if isinstance(sock := getattr(port, "_socket", None), socket.socket):
                tune(sock)
            return port
        port = serial.Serial(self.device, timeout=0, write_timeout=0, exclusive=True, **self._settings)
        # With VMIN 1 a read without data is EAGAIN, so that an empty read can only mean an unplugged port.
        attributes = termios.tcgetattr(port.fd)
        attributes[6][termios.VMIN] = 1
        attributes[6][termios.VTIME] = 0
        termios.tcsetattr(port.fd, termios.TCSANOW, attributes)
        fcntl.ioctl(port.fd, termios.TIOCEXCL)
        os.set_blocking(port.fd, False)
        return port


class _Line:
    """One opened port: a Channel. How bytes move is the subclasses'; when it is over is settled here, once."""

    def __init__(self, port: Any, device: str, loop: asyncio.AbstractEventLoop, say: Say) -> None:
        self.peer = device
        self.why = ""
        self.gone: asyncio.Future[None] = loop.create_future()
        self._port = port
        self._loop = loop
        self._say = say
        self._session: Session | None = None
        self._out = bytearray()
        self._closing = False
        self._paused = False

    def begin(self, open_session: OpenSession) -> None:
        """Open the session and read."""
        try:
            self._session = open_session(self)
        except Exception as error:
            self._defect(error)
            return
        self._say("line.opened", device=self.peer)
        if not self.why and not self._paused:
            self._listen()

    def send(self, data: bytes) -> None:
        """See Channel."""
        raise NotImplementedError

    def pause(self) -> None:
        """See Channel."""
        if not self._paused and not self.why:
            self._paused = True
            self._deaf()

    def resume(self) -> None:
        """See Channel."""
        if self._paused and not self.why:
            self._paused = False
            self._listen()

    def close(self) -> None:
        """See Channel."""
        self._closing = True
        if not self._out:
            self.end("closed by us")

    def abort(self) -> None:
        """See Channel."""
        self.end("closed by us")

    def end(self, why: str) -> None:
        """Tell the session that it is over, and let the port go. Once."""
        if self.why:
            return
        self.why = why
        self._release()
        session, self._session = self._session, None
        try:
            if session is not None:
                session.disconnected(why)
        except Exception as error:
            self._say("line.defect", device=self.peer, error=type(error).__name__)
        if not self.gone.done():
            self.gone.set_result(None)

    def _deliver(self, data: bytes) -> None:
        if self._session is None:
            return
        try:
            self._session.received(data)
        except Exception as error:
            self._defect(error)

    def _defect(self, error: Exception) -> None:
        # A defect above costs this opening only; only its type is said, the text may quote a message.
        self._say("line.defect", device=self.peer, error=type(error).__name__)
        self.end("labgateway failed on what this port sent")

    def _listen(self) -> None:
        raise NotImplementedError

    def _deaf(self) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError


class _Tty(_Line):
    """A real port (or a pty): the event loop watches its file."""

    def send(self, data: bytes) -> None:
        """See Channel."""
        if self.why:
            return
        if not self._out:
            data = data[self._write(data) :]
            if data and not self.why:
                self._loop.add_writer(self._port.fd, self._flush)
        self._out += data
        if len(self._out) > WRITE_LIMIT_BYTES:
            self.end("the instrument does not take what we send")

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._port.fd, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self.end(_words(error))
            return len(data)

    def _flush(self) -> None:
        del self._out[: self._write(bytes(self._out))]
        if not self._out and not self.why:
            self._loop.remove_writer(self._port.fd)
            if self._closing:
                self.end("closed by us")

    def _read(self) -> None:
        try:
            data = os.read(self._port.fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.end(_words(error))
            return
        if data:
            self._deliver(data)
        else:
            self.end("unplugged")

    def _listen(self) -> None:
        self._loop.add_reader(self._port.fd, self._read)

    def _deaf(self) -> None:
        self._loop.remove_reader(self._port.fd)

    def _release(self) -> None:
        self._loop.remove_reader(self._port.fd)
        self._loop.remove_writer(self._port.fd)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._port.fd, termios.TIOCNXCL)
        # Closing may wait for a cable that is not there to take the last bytes.
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(self._port.fd, termios.TCOFLUSH)
        with contextlib.suppress(OSError, termios.error):
            self._port.close()


class _Threaded(_Line):
    """A converter by pyserial's own protocols: one thread reads, one writes."""

    def __init__(self, port: Any, device: str, loop: asyncio.AbstractEventLoop, say: Say) -> None:
        super().__init__(port, device, loop, say)
        self._to_write: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._waiting = 0
        self._may_read = threading.Event()
        for work in (self._reads, self._writes):
            threading.Thread(target=work, name=f"serial {device}", daemon=True).start()

    def send(self, data: bytes) -> None:
        """See Channel."""
        if self.why:
            return
        self._waiting += len(data)
        self._to_write.put(data)
        if self._waiting > WRITE_LIMIT_BYTES:
            self.end("the instrument does not take what we send")

    def close(self) -> None:
        """See Channel."""
        self._closing = True
        if not self._waiting:
            self.end("closed by us")

    def _reads(self) -> None:
        try:
            while not self.why:
                if self._may_read.wait(THREAD_READ_S) and (data := self._port.read(self._port.in_waiting or 1)):
                    self._in_loop(self._deliver, bytes(data))
        except Exception as error:
            self._in_loop(self.end, _words(error))

    def _writes(self) -> None:
        try:
            while (data := self._to_write.get()) is not None:
                self._port.write(data)
                self._in_loop(self._wrote, len(data))
        except Exception as error:
            self._in_loop(self.end, _words(error))
        with contextlib.suppress(Exception):
            self._port.close()

    def _in_loop(self, call: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is interested any more
            self._loop.call_soon_threadsafe(call, *args)

    def _wrote(self, size: int) -> None:
        self._waiting -= size
        if self._closing and not self._waiting:
            self.end("closed by us")

    def _listen(self) -> None:
        self._may_read.set()

    def _deaf(self) -> None:
        self._may_read.clear()

    def _release(self) -> None:
        self._may_read.set()
        self._to_write.put(None)


def _words(error: BaseException) -> str:
    """Why a port cannot be opened or used, in plain words with the cure where there is one."""
    below = error.__context__
    if isinstance(below, OSError) and getattr(error, "errno", None) is None and not below.filename:
        return words(below)  # pyserial wraps what its socket says
    code = getattr(error, "errno", None)
    if code is None and error.args and isinstance(error.args[0], int):
        code = error.args[0]
    match code:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return "there is no such device; is it plugged in?"
        case errno.EACCES | errno.EPERM:
            return "no permission; add the service's user to the group dialout"
        case errno.EBUSY | errno.EAGAIN:
            return "in use by another program"
        case errno.EIO:
            return "unplugged"
        case errno.EINVAL:
            return "the port does not know these settings"
        case int():
            return errno.errorcode.get(code, "I/O error").lower()
        case _:
            return "wrong settings" if isinstance(error, ValueError) else type(error).__name__
