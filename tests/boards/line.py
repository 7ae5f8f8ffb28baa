"""A serial line for tests: bits on pins, bytes on the other side."""

from tests.streams import PERIOD

__all__ = ["listen", "talk"]


async def talk(ctx, pin, data, divisor, gap=0):
    """Put the bytes of ``data`` on ``pin`` as 8N1, ``gap`` idle cycles after each."""
    for byte in data:
        for bit in [0, *((byte >> n) & 1 for n in range(8)), 1]:
            ctx.set(pin, bit)
            await ctx.delay(divisor * PERIOD)
        if gap:
            await ctx.delay(gap * PERIOD)


async def listen(ctx, pin, divisor, heard):
    """Call ``heard(byte)`` for each byte on ``pin``, forever; a missing stop bit is an error."""
    while True:
        if ctx.get(pin):
            await ctx.changed(pin)
        bits = []
        for n in range(10):
            await ctx.delay((divisor if n else divisor / 2) * PERIOD)
            bits.append(ctx.get(pin))
        assert bits[0] == 0 and bits[9] == 1, f"{bits} lacks its start or stop bit"
        heard(sum(bit << n for n, bit in enumerate(bits[1:9])))
