"""Talking to a simulated board at its pins."""

import io

from boards import protocol
from tests.boards.line import listen, talk
from tests.streams import PERIOD, simulate

__all__ = ["converse"]


def converse(shell, script, answers, divisor, ratio=1.0, watch=(), limit=200_000):
    """The first ``answers`` frames that ``shell`` answers to ``script``.

    An item of ``script`` is the bytes to send, or a number of cycles to say nothing; cycles are the
    link's. The pipeline's clock is ``ratio`` times as fast.
    """
    heard = bytearray()

    async def speak(ctx):
        for item in script:
            if isinstance(item, int):
                await ctx.delay(item * PERIOD)
            else:
                await talk(ctx, shell.rx, item, divisor)
        while len(frames(heard)) < answers:
            await ctx.delay(20 * divisor * PERIOD)
        # Nothing more may follow.
        await ctx.delay(60 * divisor * PERIOD)

    async def hear(ctx):
        await listen(ctx, shell.tx, divisor, heard.append)

    simulate(shell, speak, background=[hear], watch=watch, limit=limit,
             clocks={"link": PERIOD, "sync": PERIOD / ratio})
    got = frames(heard)
    assert len(got) == answers
    return got


def frames(heard):
    source, got = io.BytesIO(bytes(heard)), []
    while True:
        try:
            frame = protocol.decode(source.read)
        except protocol.DamagedFrame as error:
            assert "short" in str(error) or "no start" in str(error), error
            return got
        if frame is None:
            return got
        got.append(frame)
