"""What a user leaves open: the array, its clock, frames that share weights, the memory's clock."""

from bisect import bisect_left
from dataclasses import replace
from typing import NamedTuple

from hw.schedule import Lanes
from hw.weights import PIECE_BITS

from .device import DEVICES
from .estimate import PlanTooLarge, check_fit, estimate_resources
from .plan import BATCHES, PlanError, reside
from .residency import SLOWER, least_block_rams, piece_cycles, weight_room
from .schedule import check_lanes, make_schedule
from .timing import scoring_cycles

__all__ = ["LARGE_ARRAY", "ROUTED_MHZ", "choose_batch", "choose_lanes", "choose_memory_clock"]

# Share of the LUT sites that a plan may fill, and sites that it may take if nobody asks for more:
# those of the largest that was routed (boards/results; estimates, of WRN-20-4's single frames on
# the 85F). WRN-20-2's on the 45F with 30,716 found no way through router2, and WRN-20-1's on groups
# of 16 by 8 on the 85F, 55,016, was routed once (88 MHz, ed2c8b70b496) and is no longer.
FILL = 0.8
ROUTED_COMB = {"12f": 17_200, "25f": 17_200, "45f": 30_400, "85f": 55_000}
ROUTED_MHZ = 125.0      # the pipeline's clock, as they were routed (boards/results)
LARGE_ARRAY = 3072      # arrays with so many lanes and more cross the chip
ALIKE = 0.01       # share of a frame's time by which arrays may differ and be called alike
TRIALS = 4         # arrays whose streaming is planned in full, a second each
WORTH = 1.5        # times the frame rate that are worth a memory which must be loaded first
PIXELS, SLICES, RESULTS = (8, 4, 2), (4, 8, 16, 32), (4, 8, 16)


class _Way(NamedTuple):
    """An array that fits, its pipeline clock in MHz, cycles a frame, LUT sites, and bits of weights
    streamed a frame."""

    lanes: Lanes
    mhz: float
    cycles: float
    comb: int
    bits: int = 0

    @property
    def time(self):
        """Microseconds a frame."""
        return self.cycles / self.mhz

    @property
    def fps(self):
        """Frames a second."""
        return 1e6 / self.time


def _candidates(network):
    for p in PIXELS:
        for cs in SLICES:
            for cr in RESULTS:
                m = cr
                while m <= network.channels(0):
                    lanes = Lanes(p, cs, m, cr)
                    try:
                        check_lanes(network, lanes)
                        yield lanes
                    except ValueError:
                        pass
                    m *= 2


def _with_waits(way, network, device, pace, batches):
    """The :class:`_Way` with all its waits for weights, or ``None`` where some don't fit."""
    ways = []
    for batch in batches:
        try:
            residency = reside(network, way.lanes, device, None, pace, batch)
        except PlanTooLarge:
            continue
        ways.append(way._replace(cycles=residency.distance / batch, bits=residency.bits // batch,
                                 comb=estimate_resources(residency.schedule)["comb"]))
    return min(ways, key=lambda way: way.cycles, default=None)


def _streaming(ways, with_waits, most_comb, target_fps):
    """Of ``ways`` without waits for weights the smallest that reaches the target with them, else
    the most promising, with them."""
    if target_fps is not None:
        for ideal in sorted(ways, key=lambda way: way.comb):
            way = with_waits(ideal) if ideal.fps >= target_fps else None
            if way and way.comb <= most_comb and way.fps >= target_fps:
                return [way]
    found = []
    for ideal in sorted(ways, key=lambda way: (way.time, way.comb)):
        least = min((way.time for way in found), default=ideal.time)
        if len(found) == TRIALS or ideal.time > (1 + ALIKE) * least:
            break
        way = with_waits(ideal)
        if way and way.comb <= most_comb:
            found.append(way)
    return found


def choose_batch(plan):
    """The plan with frames in rounds of two where that fits and saves cycles, else one by one."""
    if not plan.schedule.loads:
        return plan
    try:
        pairs = replace(plan, batch=2)
        check_fit(pairs.schedule, DEVICES[plan.device], plan.network.name)
        if pairs.cycles_per_frame * (1 + SLOWER) < plan.cycles_per_frame:
            return pairs
    except PlanTooLarge:
        pass
    return plan


def choose_memory_clock(plan, clocks):
    """The slowest of ``clocks``, in MHz from slowest to fastest, at which a frame takes as long as
    in ``plan``, whose memory runs at the fastest: it's the easiest to route."""
    def cycles(mhz):
        return replace(plan, memory_mhz=mhz).cycles_per_frame
    if not plan.schedule.loads:
        return clocks[-1]
    most = (1 + SLOWER) * plan.cycles_per_frame
    # Where a frame waits for weights, a plan of seconds saves several.
    if len(clocks) > 1 and cycles(clocks[-2]) > most:
        return clocks[-1]
    return clocks[bisect_left(clocks, True, hi=len(clocks) - 1,
                              key=lambda mhz: cycles(mhz) <= most)]


def choose_lanes(network, device, target_fps=None, max_lanes=None, mhz=ROUTED_MHZ,
                 memory_mhz=None, batches=BATCHES):
    """The array for a network on a device.

    Without a target, the one with the highest frame rate, or nearly that and less logic, that takes
    no more than ``FILL`` of the LUT sites and has at most ``max_lanes``, by default no more than
    the device's ``ROUTED_COMB`` sites; with one, the smallest that reaches it. Arrays that keep all
    weights on the chip go before those that stream some, where they reach the target, or without
    one unless streaming gives ``WORTH`` times their frame rate: the more lanes, the wider and
    shallower are the weight memories, and the fewer weights they hold. ``mhz`` is the pipeline's
    clock, and ``memory_mhz`` the memory's, by default the same. Raises :class:`PlanTooLarge` where
    none fits, :class:`PlanError` where none reaches the target.
    """
    most_comb = FILL * DEVICES[device].comb
    if max_lanes is None and target_fps is None:
        most_comb = ROUTED_COMB[device]
    pace = piece_cycles(mhz, memory_mhz or mhz)
    fitting, streaming, others = [], [], []
    for lanes in _candidates(network):
        if max_lanes is not None and lanes.count > max_lanes:
            continue
        schedule = make_schedule(network, lanes)
        need = estimate_resources(schedule)
        room = weight_room(schedule, DEVICES[device])
        way = _Way(lanes, mhz, max(schedule.cycles, scoring_cycles(schedule)), need["comb"])
        if need["comb"] <= most_comb and room >= max(1, schedule.weight_depth):
            fitting.append(way)
            continue
        others.append((need["comb"], schedule))
        if need["comb"] <= most_comb and room > 0:
            streaming.append(way)

    def with_waits(way):
        return _with_waits(way, network, device, pace, batches)

    def streamed(least_fps=0):
        ways = [way for way in streaming if way.fps >= least_fps]
        return [way for way in _streaming(ways, with_waits, most_comb, target_fps)
                if way.fps >= least_fps]

    # Where all weights can stay, nobody wants to load any, but for a good deal of speed.
    resident_fps = max((way.fps for way in fitting), default=0)
    if target_fps is None:
        fitting = streamed(WORTH * resident_fps) or fitting
    elif resident_fps < target_fps:
        fitting = fitting + streamed()
    if not fitting:
        if not others:
            raise PlanError(f"No array of at most {max_lanes} lanes suits {network.name}; "
                            f"the smallest has {min(y.count for y in _candidates(network))}")
        _, schedule = min(others, key=lambda other: (least_block_rams(other[1]), other[0]))
        # This one says what lacks room, if that's block RAM.
        reside(network, schedule.lanes, device, None, pace, min(batches))
        raise PlanTooLarge(f"{network.name} needs more than the {most_comb:,.0f} LUT sites that a "
                           f"plan may take of the {device.upper()}'s {DEVICES[device].comb:,}")
    if target_fps is None:
        # Logic isn't worth a cycle in a hundred.
        most = (1 + ALIKE) * min(way.time for way in fitting)
        return min((way for way in fitting if way.time <= most),
                   key=lambda way: (way.comb, way.time)).lanes
    fast = [way for way in fitting if way.fps >= target_fps]
    if not fast:
        way = max(fitting, key=lambda way: way.fps)
        needed, present = way.bits * target_fps / 8e6, PIECE_BITS / 8 * mhz / pace
        short = (f"; that would take {needed:,.0f} MB/s of weights, and the SDRAM gives "
                 f"{present:,.0f}" if needed > present else "")
        raise PlanError(f"{network.name} reaches {way.fps:,.0f} fps on the "
                        f"{device.upper()} at {mhz:g} MHz, not {target_fps:,.0f}{short}")
    return min(fast, key=lambda way: (way.comb, way.time)).lanes
