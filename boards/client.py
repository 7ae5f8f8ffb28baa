"""A board on a serial port, from Python: the host's side of :mod:`.protocol`."""

import contextlib
import struct
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from . import protocol
from .protocol import (
    ANSWER,
    BAUD,
    CHUNK,
    PATIENCE,
    DamagedFrame,
    Fault,
    Frame,
    Identity,
    Kind,
    padded,
)

__all__ = ["Answers", "Board", "BoardError", "Refused"]

# A board that fills its memory from the flash checks it once that's done: 14 MiB at most, at 0.94
# MB/s.
FLASH_SECONDS = 16.0


class BoardError(RuntimeError):
    """The board can't be used as asked; the message is one sentence for the user."""


class Refused(BoardError):
    """The board, or this program, didn't understand the other; asking again may help. ``fault`` is
    the board's reason, if it gave one."""

    def __init__(self, sentence, fault=None):
        super().__init__(sentence)
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Answers:
    """``scores`` int32[n, classes]; ``cycles`` int64[n], clock cycles from each frame's first pixel
    in to its last score out."""

    scores: np.ndarray
    cycles: np.ndarray

    @property
    def classes(self):
        """int64[n], the first class with the highest score."""
        return self.scores.argmax(axis=1)


class Board:
    """A board on a serial port.

    Parameters
    ----------
    port : str
        Name of the port, as in ``/dev/ttyUSB0`` or ``COM3``.
    baud : int
        Bits/s; must be what the bitstream was built for.
    timeout : float
        Seconds without an answer after which the board is given up.

    Raises
    ------
    BoardError
        The port can't be opened, or what answers isn't a board; as do all methods where the board
        is silent, its answer damaged or the question refused.
    """

    def __init__(self, port, baud=BAUD, timeout=2.0):
        self.port, self.timeout = port, timeout
        self._sequence = 0
        self._ahead = 0
        serial = _serial()
        try:
            self._line = serial.Serial(port, baud, timeout=timeout, write_timeout=timeout)
            self._line.reset_input_buffer()
        except (ValueError, OSError) as error:
            raise BoardError(_why_closed(port, baud, error)) from None
        # The FT231X keeps a short answer for 16 ms otherwise. For Linux alone, and not for what
        # is no such chip: a pseudo-terminal, as that of a virtual board.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            self._line.set_low_latency_mode(True)
        try:
            self.identity = self._meet()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Give the port back."""
        self._line.close()

    def _send(self, kind, payload=b""):
        self._sequence = (self._sequence + 1) % 256
        try:
            self._line.write(protocol.encode(Frame(kind, self._sequence, payload)))
        except OSError as error:
            raise BoardError(f"{self.port} takes no bytes ({error})") from None
        return kind, self._sequence

    def _receive(self, asked, longer=0.0):
        """Payload of the answer to a question, which may take so many seconds ``longer``."""
        kind, sequence = asked
        deadline = time.monotonic() + self.timeout + longer
        while True:
            try:
                frame = protocol.decode(self._line.read)
            except DamagedFrame as error:
                raise Refused(f"{self.port}: {error}; is the baud rate right?") from None
            except OSError as error:
                raise BoardError(f"{self.port} was lost ({error})") from None
            now = time.monotonic()
            if frame is None and now < deadline:
                continue
            if frame is None or now > deadline + self.timeout:
                raise BoardError(f"{self.port} gave no answer within {self.timeout + longer:g} s; "
                                 f"is the board configured with a signstream bitstream of this "
                                 f"baud rate?")
            if frame.kind == Kind.ERROR:
                raise Refused(f"the board refused the question: {_reason(frame.payload)}",
                              frame.payload[0] if frame.payload else None)
            if (frame.kind, frame.sequence) == (kind + ANSWER, sequence):
                return frame.payload
            # The late answer to a question that was given up.

    def _meet(self):
        # A program that was stopped in the middle of a frame leaves the board waiting for the
        # rest, or an answer on the line: the first question may fall victim to that.
        for _ in range(2):
            try:
                return self._identify()
            except Refused:
                time.sleep(2 * PATIENCE)
                self._line.reset_input_buffer()
        return self._identify()

    def _identify(self):
        try:
            return Identity.decode(self._receive(self._send(Kind.IDENTIFY)))
        except DamagedFrame as error:
            raise BoardError(f"{self.port}: {error}") from None

    def _scores(self, asked):
        try:
            scores, cycles = protocol.decode_scores(self._receive(asked), self.identity.classes)
        except DamagedFrame as error:
            raise BoardError(f"{self.port}: {error}") from None
        # The next question may be on the line already if all that arrives until this one is
        # answered fits the board's queue.
        answer = protocol.OVERHEAD + 4 * self.identity.classes + 4
        busy = cycles / (1000 * self.identity.clock_khz)  # seconds
        self._ahead = int(busy * self._line.baudrate / 10 + answer < protocol.QUEUE // 2)
        return scores, cycles

    def ready(self):
        """Whether the board has all weights; one that streams none always has.

        Raises ``BoardError`` where they were right in its flash and its memory doesn't hold them.
        """
        try:
            self._receive(self._send(Kind.CHECK), FLASH_SECONDS)
        except Refused as error:
            if error.fault == Fault.WEIGHTS:
                return False
            raise
        return True

    def load(self, weights, say=lambda done, total: None):
        """Send the weights of a design that streams them, the bytes of its ``weights/sdram.bin``,
        unless the board has them already. ``say`` is told the bytes sent and the total.

        Raises ``BoardError`` where they aren't the weights of its bitstream, before any is sent,
        and where its SDRAM gives back others than were sent.
        """
        if self.ready():
            return
        weights = padded(weights)
        given, wanted = protocol.body_crc(weights), self.identity.weights_crc
        if given != wanted:
            raise BoardError(f"these weights (CRC {given:08x}) aren't those of the bitstream in "
                             f"the board (CRC {wanted:08x}); send its own build's sdram.bin")
        for start in range(0, len(weights), CHUNK):
            self._load_chunk(struct.pack("<I", start) + weights[start:start + CHUNK])
            say(min(start + CHUNK, len(weights)), len(weights))
        if not self.ready():
            raise BoardError(f"{self.port}: the board's SDRAM gave back other weights than were "
                             f"sent; the memory or its clock fails")

    def _load_chunk(self, payload):
        # A frame that's damaged or too early is sent again; in whole bursts that changes nothing.
        for left in (2, 1, 0):
            try:
                return self._receive(self._send(Kind.LOAD, payload))
            except Refused as error:
                again = error.fault in (None, Fault.HEADER, Fault.BODY, Fault.LATE, Fault.BUSY)
                if not left or not again:
                    raise

    def classify(self, images):
        """:class:`Answers` for ``images``, uint8[n, 3, side, side], red first."""
        side = self.identity.side
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != (3, side, side) or images.dtype != np.uint8:
            raise BoardError(f"images must be uint8[n, 3, {side}, {side}] for this board, "
                             f"not {images.dtype}{list(images.shape)}")
        waiting, got = deque(), []
        for image in images:
            waiting.append(self._send(Kind.CLASSIFY, protocol.encode_image(image)))
            while len(waiting) > self._ahead:
                got.append(self._scores(waiting.popleft()))
        got += [self._scores(asked) for asked in waiting]
        return Answers(np.array([scores for scores, _ in got], np.int32).reshape(
            len(images), self.identity.classes), np.array([cycles for _, cycles in got], np.int64))

    def throughput(self, frames=100, seed=0):
        """Frames per second, measured with random images.

        Returns ``{"frames", "seconds", "line_fps", "cycles", "chip_fps"}``: ``line_fps`` is what
        came through the serial line, ``chip_fps`` the clock over the slowest frame's cycles, one
        frame at a time.
        """
        shape = (frames, 3, self.identity.side, self.identity.side)
        images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        began = time.perf_counter()
        answers = self.classify(images)
        seconds = time.perf_counter() - began
        cycles = int(answers.cycles.max())
        return {"frames": frames, "seconds": seconds, "line_fps": frames / seconds,
                "cycles": cycles, "chip_fps": 1000 * self.identity.clock_khz / cycles}


def _serial():
    try:
        import serial
    except ModuleNotFoundError:
        raise BoardError("pyserial is needed to reach a board and isn't installed; "
                         "run `pip install pyserial`") from None
    return serial


def _reason(payload):
    try:
        return Fault(payload[0]).sentence
    except (ValueError, IndexError):
        return f"reason {payload.hex() or 'not given'}, unknown to this program"


def _why_closed(port, baud, error):
    text = str(error)
    if "Permission" in text or getattr(error, "errno", None) == 13:
        return f"{port} needs a permission that you lack; see the udev rule in boards/README.md"
    if "busy" in text.lower() or getattr(error, "errno", None) == 16:
        return f"{port} is in use by another program"
    if getattr(error, "errno", None) == 2 or "No such file" in text or "FileNotFound" in text:
        from serial.tools import list_ports
        there = ", ".join(p.device for p in list_ports.comports()) or "none"
        return f"{port} doesn't exist; serial ports here: {there}"
    return f"{port} can't be opened at {baud} baud ({text})"
