"""The board link's protocol: the constants and encodings that gateware and host share.

A frame, either way, numbers little endian::

    sync A5 5A | kind 1 | sequence 1 | length 2 | check 1 | payload ... | CRC-32 4
               |<-------- CRC-8 over these ---->|         |
               |<----------------- CRC-32 over these ---->|

The host asks one question per frame and the board answers each frame with exactly one, which
repeats the question's sequence number. The length is trusted only if the header's check is right,
so a damaged frame can't swallow the one behind it. What goes wrong is answered with an ``ERROR``
frame; the board then waits for the next sync.

==============  ========  ==============================  =====================================
question        kind      payload                         answer (kind + 0x80)
==============  ========  ==============================  =====================================
``IDENTIFY``    ``0x01``  none                            :class:`Identity`
``CLASSIFY``    ``0x02``  uint8[side, side, 3] RGB rows   int32[classes] scores, uint32 cycles
                                                          from first pixel to last score
``LOAD``        ``0x03``  uint32 offset, uint8[16 k]      none; weights of a design that streams
                          from there on                   them, in any order, before ``CHECK``
``CHECK``       ``0x04``  none                            none once all weights are there and
                                                          right: only then images are classified
anything else                                             ``ERROR`` ``0xFF``, one byte of
                                                          :class:`Fault`
==============  ========  ==============================  =====================================
"""

import enum
import struct
import zlib
from dataclasses import dataclass

from amaranth.lib.crc import catalog

__all__ = [
    "ANSWER", "BAUD", "BODY_CRC", "CHUNK", "HEADER_CRC", "LOAD_UNIT", "LONGEST", "OVERHEAD",
    "PATIENCE", "QUEUE", "SYNC", "VERSION", "DamagedFrame", "Fault", "Frame", "Identity", "Kind",
    "body_crc", "decode", "decode_scores", "encode", "encode_image", "encode_scores", "padded",
]

VERSION = 2
SYNC = b"\xa5\x5a"
HEADER_CRC = catalog.CRC8_SMBUS(data_width=8)
BODY_CRC = catalog.CRC32_ISO_HDLC(data_width=8)
HEADER = struct.Struct("<BBH")
OVERHEAD = len(SYNC) + HEADER.size + 1 + 4  # bytes of a frame besides its payload
LONGEST = 0xFFFF
BAUD = 2_000_000  # bits/s
CHUNK = 8192  # bytes of weights that the host sends in a frame
LOAD_UNIT = 16  # bytes: what is written into the board's memory at a time
PATIENCE = 0.1  # seconds without a byte after which the board gives up a frame that has begun
QUEUE = 2048  # bytes that the board keeps while it is busy with the previous frame
ANSWER = 0x80  # added to the kind of the question


class Kind(enum.IntEnum):
    """What a frame is."""
    IDENTIFY = 0x01
    CLASSIFY = 0x02
    LOAD = 0x03
    CHECK = 0x04
    ERROR = 0xFF


class Fault(enum.IntEnum):
    """Why a frame was refused: the payload of an ``ERROR`` answer."""
    HEADER = 1
    BODY = 2
    LATE = 3
    KIND = 4
    LENGTH = 5
    WEIGHTS = 6
    BUSY = 7
    MEMORY = 8

    @property
    def sentence(self):
        """The fault in words."""
        return {
            Fault.HEADER: "the frame's header arrived damaged",
            Fault.BODY: "the frame's payload arrived damaged",
            Fault.LATE: "the frame stopped short of its announced length",
            Fault.KIND: "the frame's kind is unknown to the board",
            Fault.LENGTH: "the frame's length isn't what the board needs for its kind",
            Fault.WEIGHTS: "its memory doesn't hold the weights of its design",
            Fault.BUSY: "the board takes no weights yet, or none as fast as these came",
            Fault.MEMORY: "its memory gave back other weights than its flash holds, which are the "
                          "right ones; the memory or its clock fails",
        }[self]


class DamagedFrame(ValueError):
    """Bytes that aren't a frame; the message is one sentence."""


def body_crc(data):
    """``BODY_CRC.compute(data)``, a thousand times faster."""
    return zlib.crc32(data)


@dataclass(frozen=True)
class Frame:
    """One frame: ``kind`` and ``sequence`` are bytes, ``payload`` is at most ``LONGEST`` bytes."""

    kind: int
    sequence: int
    payload: bytes = b""

    def __post_init__(self):
        for name, value in (("Kind", self.kind), ("Sequence", self.sequence)):
            if not 0 <= value <= 0xFF:
                raise ValueError(f"{name} must be 0 to 255, not {value!r}")
        if len(self.payload) > LONGEST:
            raise ValueError(f"Payload must be at most {LONGEST} bytes, not {len(self.payload)}")


def encode(frame):
    """The bytes of ``frame`` on the wire."""
    header = HEADER.pack(frame.kind, frame.sequence, len(frame.payload))
    body = header + bytes([HEADER_CRC.compute(header)]) + bytes(frame.payload)
    return SYNC + body + struct.pack("<I", body_crc(body))


def decode(read):
    """The next frame of a byte source.

    Parameters
    ----------
    read : callable
        ``read(n)`` returns the next ``n`` bytes, or fewer when they don't come in time.

    Returns ``None`` if nothing came. Bytes before the sync are skipped.

    Raises
    ------
    DamagedFrame
        The frame stops short, or a CRC is wrong.
    """
    def exactly(count, what):
        got = read(count)
        if len(got) < count:
            raise DamagedFrame(f"the answer stopped {count - len(got)} bytes short in its {what}")
        return got

    window = b""
    for _ in range(LONGEST):
        byte = read(1)
        if not byte and not window:
            return None
        window = (window + byte)[-len(SYNC):]
        if not byte or window == SYNC:
            break
    if window != SYNC:
        raise DamagedFrame("the answer held no start of a frame")
    header = exactly(HEADER.size + 1, "header")
    if HEADER_CRC.compute(header[:-1]) != header[-1]:
        raise DamagedFrame("the answer's header arrived damaged")
    kind, sequence, length = HEADER.unpack(header[:-1])
    payload = exactly(length, "payload")
    crc, = struct.unpack("<I", exactly(4, "CRC"))
    if body_crc(header + payload) != crc:
        raise DamagedFrame("the answer's payload arrived damaged")
    return Frame(kind, sequence, payload)


@dataclass(frozen=True)
class Identity:
    """What a board says it is.

    ``digest`` is 32 hexadecimal characters naming the build, ``clock_khz`` the pipeline's clock,
    ``class_names`` may be empty where they're too long to carry, ``weights_crc`` is the CRC-32 of
    the weights that the host must send, 0 where it sends none.
    """

    network: str
    side: int
    classes: int
    clock_khz: int
    digest: str
    class_names: tuple = ()
    weights_crc: int = 0
    version: int = VERSION

    _fixed = struct.Struct("<BHHII16s")
    CRC_AT = struct.calcsize("<BHHI")  # where the CRC's bytes lie
    _padding = 256  # bytes: networks with other names still have identities of one length

    def __post_init__(self):
        if len(self.digest) != 32 or set(self.digest) - set("0123456789abcdef"):
            raise ValueError("Digest must be 32 hexadecimal characters (lower case), "
                             f"not {self.digest!r}")
        if not 0 < 3 * self.side ** 2 <= LONGEST:
            raise ValueError("Image side must be 1 to 147 pixels to fit a frame of the board link, "
                             f"not {self.side}")
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"Class names must be {self.classes}, not {len(self.class_names)}")
        if any("\n" in name for name in (self.network, *self.class_names)):
            raise ValueError("Names must be single lines")

    def encode(self):
        """Payload of an ``IDENTIFY`` answer."""
        text = "\n".join([self.network, *self.class_names]).encode()
        payload = self._fixed.pack(self.version, self.side, self.classes, self.clock_khz,
                                   self.weights_crc, bytes.fromhex(self.digest)) + text
        return payload + bytes(-len(payload) % self._padding)

    @classmethod
    def decode(cls, payload):
        """Inverse of :meth:`encode`; raises :class:`DamagedFrame` on anything else."""
        if payload[:1] and payload[0] != VERSION:
            raise DamagedFrame(f"the board speaks version {payload[0]} of the protocol, "
                               f"this program version {VERSION}")
        try:
            version, side, classes, khz, crc, digest = cls._fixed.unpack_from(payload)
            network, *names = payload[cls._fixed.size:].rstrip(b"\0").decode().split("\n")
            return cls(network, side, classes, khz, digest.hex(), tuple(names), crc, version)
        except (struct.error, ValueError) as error:
            raise DamagedFrame(f"the board's identity can't be read ({error})") from None


def padded(weights):
    """Weights for ``LOAD``: the stream's bytes, filled up with zeros to whole bursts of the
    memory."""
    return weights + bytes(-len(weights) % LOAD_UNIT)


def encode_image(image):
    """Payload of a ``CLASSIFY`` question for ``image``, uint8[3, side, side]."""
    return image.transpose(1, 2, 0).tobytes()


def encode_scores(scores, cycles):
    """Payload of a ``CLASSIFY`` answer."""
    return struct.pack(f"<{len(scores)}iI", *scores, cycles)


def decode_scores(payload, classes):
    """``(scores, cycles)`` of a ``CLASSIFY`` answer."""
    if len(payload) != 4 * classes + 4:
        raise DamagedFrame(f"the answer held {len(payload)} bytes, "
                           f"not the {4 * classes + 4} of {classes} scores")
    *scores, cycles = struct.unpack(f"<{classes}iI", payload)
    return scores, cycles
