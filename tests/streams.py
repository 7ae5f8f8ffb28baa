"""Stream traffic for tests: senders and receivers that stall, and the rule they must obey."""

from amaranth.sim import Simulator

__all__ = ["PERIOD", "STALLS", "idle", "never_withdrawn", "receive", "send", "simulate"]

PERIOD = 1e-8  # seconds a cycle, for benches that wait by time

# Idle cycles before each transfer, drawn from a NumPy generator.
STALLS = {
    "never": lambda rng: 0,
    "always": lambda rng: 2,
    "bursts": lambda rng: 3 * int(rng.integers(4) == 0),
}


async def idle(ctx, cycles):
    """Let ``cycles`` clock cycles pass, none if 0."""
    for _ in range(cycles):      # one by one: `repeat` can't be abandoned by a background bench
        await ctx.tick()


async def send(ctx, s, payloads, stall=lambda: 0):
    """Offer ``payloads`` one by one on stream ``s``, ``stall()`` idle cycles before each."""
    for payload in payloads:
        await idle(ctx, stall())
        ctx.set(s.payload, payload)
        ctx.set(s.valid, 1)
        taken = False
        while not taken:
            _, _, taken = await ctx.tick().sample(s.ready)
        ctx.set(s.valid, 0)


async def receive(ctx, s, count, stall=lambda: 0):
    """Take ``count`` payloads from stream ``s``, ``stall()`` idle cycles before each."""
    payloads = []
    while len(payloads) < count:
        await idle(ctx, stall())
        ctx.set(s.ready, 1)
        offered = False
        while not offered:
            _, _, offered, payload = await ctx.tick().sample(s.valid, s.payload)
        ctx.set(s.ready, 0)
        payloads.append(payload)
    return payloads


async def never_withdrawn(ctx, s):
    """Check forever that an offer stands until it's taken (Amaranth stream rule 2)."""
    standing = None
    while True:
        _, _, valid, ready, payload = await ctx.tick().sample(s.valid, s.ready, s.payload)
        if standing is not None:
            assert valid and payload == standing, f"{standing!r} was withdrawn untaken"
        standing = payload if valid and not ready else None


def simulate(dut, *benches, watch=(), background=(), vcd=None, limit=1_000_000, clocks=None):
    """Run ``benches`` (``async def bench(ctx)``) on ``dut`` until all have ended.

    Those in ``background`` run along and needn't end; they must wait with plain ``ctx.tick()``,
    not with ``repeat`` or ``until``, which can't be abandoned. The streams in ``watch`` are held to
    :func:`never_withdrawn`; more than ``limit`` cycles are a failure, so that a lost transfer ends
    as an error and not as a hanging test. ``clocks`` has the periods of domains in seconds, by
    default ``PERIOD`` for ``sync``.
    """
    sim = Simulator(dut)
    for domain, period in (clocks or {"sync": PERIOD}).items():
        sim.add_clock(period, domain=domain)
    for bench in benches:
        sim.add_testbench(bench)
    for bench in background:
        sim.add_testbench(bench, background=True)
    for s in watch:
        async def rule(ctx, s=s):
            await never_withdrawn(ctx, s)
        sim.add_testbench(rule, background=True)

    async def deadline(ctx):
        await ctx.delay(limit * PERIOD)
        raise AssertionError(f"The simulation hasn't ended within {limit} cycles")
    sim.add_testbench(deadline, background=True)
    if vcd is None:
        sim.run()
    else:
        with sim.write_vcd(vcd, traces=list(watch)):
            sim.run()
