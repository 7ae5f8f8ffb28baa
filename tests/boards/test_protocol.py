import io

import numpy as np
import pytest

from boards import protocol
from boards.frame import FrameReceiver, FrameSender
from boards.protocol import DamagedFrame, Fault, Frame, Identity, Kind
from tests.streams import STALLS, receive, send, simulate

RNG = np.random.default_rng(1)
IDENTITY = Identity("wrn-8-1", 16, 3, 100_000, "0123456789abcdef" * 2, ("cat", "Käfer", "dog"))
FRAMES = [Frame(Kind.IDENTIFY, 0), Frame(Kind.CLASSIFY, 255, RNG.bytes(40)), Frame(0x77, 3, b"x"),
          Frame(1, 0xA5, protocol.SYNC * 3)]


def parse(data):
    return protocol.decode(io.BytesIO(data).read)


@pytest.mark.parametrize("frame", FRAMES)
def test_decode_undoes_encode(frame):
    assert parse(protocol.encode(frame)) == frame
    assert parse(b"noise\xa5" + protocol.encode(frame)) == frame


def test_the_layout_is_the_documented_one():
    wire = protocol.encode(Frame(0x02, 0x07, b"abc"))
    assert wire[:7].hex(" ") == "a5 5a 02 07 03 00 05" and len(wire) == protocol.OVERHEAD + 3


def test_every_flipped_bit_is_noticed():
    wire = protocol.encode(Frame(Kind.CLASSIFY, 9, b"signstream"))
    for bit in range(8 * len(protocol.SYNC), 8 * len(wire)):
        damaged = bytearray(wire)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedFrame, match="damaged"):
            parse(bytes(damaged))


def test_endless_noise_ends():
    with pytest.raises(DamagedFrame, match="no start of a frame"):
        protocol.decode(lambda count: b"\xa5" * count)


def test_every_cut_is_noticed():
    wire = protocol.encode(Frame(Kind.CLASSIFY, 9, b"signstream"))
    assert parse(b"") is None
    for length in range(1, len(wire)):
        with pytest.raises(DamagedFrame, match="short|no start"):
            parse(wire[:length])


@pytest.mark.parametrize("size", [0, 1, 100])
def test_the_fast_crc_is_the_one_of_the_gateware(size):
    data = RNG.bytes(size)
    assert protocol.body_crc(data) == protocol.BODY_CRC.compute(data)


def test_identity_survives():
    assert Identity.decode(IDENTITY.encode()) == IDENTITY
    nameless = Identity("wrn-20-4", 32, 10, 114_500, "f" * 32)
    assert Identity.decode(nameless.encode()) == nameless


def test_scores_survive():
    scores = [-2 ** 31, 2 ** 31 - 1, 0]
    assert protocol.decode_scores(protocol.encode_scores(scores, 4_000_000_000), 3) == (
        scores, 4_000_000_000)


def test_an_image_goes_row_by_row_pixel_by_pixel():
    image = np.arange(3 * 4).reshape(3, 2, 2).astype(np.uint8)
    assert list(protocol.encode_image(image)) == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


@pytest.mark.parametrize("make, error, words", [
    (lambda: Frame(256, 0), ValueError, "Kind must be 0 to 255, not 256"),
    (lambda: Frame(1, 0, bytes(65536)), ValueError, "at most 65535 bytes, not 65536"),
    (lambda: Identity("n", 8, 2, 1, "12"), ValueError, "32 hexadecimal characters"),
    (lambda: Identity("n", 8, 2, 1, "0" * 32, ("a",)), ValueError, "must be 2, not 1"),
    (lambda: Identity("n", 152, 2, 1, "0" * 32), ValueError, "1 to 147 pixels .* not 152"),
    (lambda: Identity("n\n", 8, 2, 1, "0" * 32), ValueError, "single lines"),
    (lambda: Identity.decode(b"\x02\x02"), DamagedFrame, "identity can't be read"),
    (lambda: Identity.decode(b"\x09" + bytes(40)), DamagedFrame, "version 9 .* version 2"),
    (lambda: protocol.decode_scores(bytes(8), 3), DamagedFrame, "8 bytes, not the 16 of 3"),
])
def test_refuses(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("in_stall", STALLS)
@pytest.mark.parametrize("out_stall", STALLS)
def test_the_sender_makes_the_host_s_frames(in_stall, out_stall):
    dut, rng = FrameSender(), np.random.default_rng(2)
    wire = b"".join(map(protocol.encode, FRAMES))

    async def headers(ctx):
        await send(ctx, dut.header, [dict(kind=f.kind, sequence=f.sequence, length=len(f.payload))
                                     for f in FRAMES], lambda: STALLS[in_stall](rng))

    async def payloads(ctx):
        await send(ctx, dut.payload, [b for f in FRAMES for b in f.payload],
                   lambda: STALLS[in_stall](rng))

    async def drain(ctx):
        got = await receive(ctx, dut.y, len(wire), lambda: STALLS[out_stall](rng))
        assert bytes(got).hex(" ") == wire.hex(" ")

    simulate(dut, headers, payloads, drain, watch=[dut.y])


def hear(pieces, verdicts, patience=20, stall="never", seed=0):
    """Feed a :class:`FrameReceiver`; a piece is bytes, or a number of silent cycles.

    Returns ``(kind, sequence, length, fault, payload)`` of every frame.
    """
    dut, rng, got, payload = FrameReceiver(patience), np.random.default_rng(seed), [], []

    async def speak(ctx):
        for piece in pieces:
            if isinstance(piece, int):
                await ctx.tick().repeat(piece)
            else:
                await send(ctx, dut.x, piece, lambda: STALLS[stall](rng))

    async def keep(ctx):
        while True:
            _, _, valid, byte = await ctx.tick().sample(dut.payload.valid, dut.payload.payload)
            if valid:
                payload.append(byte)

    async def judge(ctx):
        for _ in range(verdicts):
            (verdict,) = await receive(ctx, dut.verdict, 1, lambda: STALLS[stall](rng))
            header = verdict.header
            got.append((header.kind, header.sequence, header.length, verdict.fault, bytes(payload)))
            payload.clear()
        await ctx.tick().repeat(3 * patience)
        assert not ctx.get(dut.verdict.valid), "A verdict on nothing"

    simulate(dut, speak, judge, background=[keep], watch=[dut.verdict])
    return got


def whole(frame):
    return (frame.kind, frame.sequence, len(frame.payload), 0, frame.payload)


GOOD = FRAMES[1]


@pytest.mark.parametrize("stall", STALLS)
def test_the_receiver_hears_the_host_s_frames(stall):
    wire = [protocol.encode(f) for f in FRAMES]
    assert hear(wire, len(FRAMES), stall=stall) == [whole(f) for f in FRAMES]


@pytest.mark.parametrize("noise", [b"", b"\x00\xff", b"\xa5", b"\xa5\xa5", b"\xa5\x00\x5a"])
def test_noise_between_frames_is_skipped(noise):
    assert hear([noise + protocol.encode(GOOD), noise + protocol.encode(GOOD)], 2) == (
        [whole(GOOD)] * 2)


@pytest.mark.parametrize("where, fault", [
    *[(at, Fault.HEADER) for at in range(2, 7)],
    (7, Fault.BODY), (30, Fault.BODY), *[(at, Fault.BODY) for at in range(-4, 0)]])
def test_damage_is_noticed_and_the_next_frame_works(where, fault):
    wire = bytearray(protocol.encode(GOOD))
    wire[where] ^= 0x10
    got = hear([bytes(wire), protocol.encode(GOOD)], 2)
    assert got[0][3] == fault and got[1][:4] == whole(GOOD)[:4]
    assert got[1][4].endswith(GOOD.payload)


@pytest.mark.parametrize("length", [3, 6, 7, 8, 20, 46, 50])
def test_a_short_frame_is_late_and_the_next_frame_works(length):
    wire = protocol.encode(GOOD)
    short, good = hear([wire[:length], 40, wire], 2)
    assert short[3] == Fault.LATE and good == whole(GOOD)


def test_half_a_sync_is_no_frame():
    assert hear([b"\xa5", 40, protocol.encode(GOOD)], 1) == [whole(GOOD)]


def test_a_late_rest_is_skipped():
    wire = protocol.encode(GOOD)
    late, good = hear([wire[:20], 40, wire[20:], wire], 2)
    assert late[3] == Fault.LATE and good == whole(GOOD)


def test_patience_lasts_as_long_as_promised():
    wire = protocol.encode(GOOD)
    assert hear([wire[:20], 18, wire[20:]], 1) == [whole(GOOD)]


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_is_survived(seed):
    """Random damage, cuts and insertions; after a pause the next good frame is always heard."""
    rng = np.random.default_rng(seed)
    wire = protocol.encode(GOOD)
    pieces = []
    for _ in range(10):
        bad = bytearray(wire)
        for _ in range(rng.integers(1, 4)):
            where = int(rng.integers(len(bad)))
            match rng.integers(3):
                case 0:
                    bad[where] ^= 1 << int(rng.integers(8))
                case 1:
                    del bad[where:where + int(rng.integers(1, 9))]
                case 2:
                    bad[where:where] = rng.bytes(3)
        pieces += [bytes(bad), 60, wire, 60]
    got = []
    dut = FrameReceiver(20)

    async def speak(ctx):
        for piece in pieces:
            if isinstance(piece, int):
                await ctx.tick().repeat(piece)
            else:
                await send(ctx, dut.x, piece)

    async def judge(ctx):
        ctx.set(dut.verdict.ready, 1)
        while True:
            _, _, valid, verdict = await ctx.tick().sample(dut.verdict.valid, dut.verdict.payload)
            if valid:
                got.append(verdict)

    simulate(dut, speak, background=[judge])
    good = [v for v in got if v.fault == 0]
    assert len(good) >= 10
    assert all((v.header.kind, v.header.sequence) == (GOOD.kind, GOOD.sequence) for v in good)
