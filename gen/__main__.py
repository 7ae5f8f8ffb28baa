"""``python -m gen``: plan a network for a device and write its build folder."""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

from boards.ulx3s import BOARDS, Board
from hw.schedule import Lanes
from hw.weights import PIECE_BITS

from .build import write_build
from .choose import ROUTED_MHZ, choose_batch, choose_lanes, choose_memory_clock
from .cli import command_line, number, positive
from .device import DEVICES
from .estimate import check_fit, estimate_resources
from .network import ACT_BITS, Network
from .package import Package, shipped
from .plan import BATCHES, Plan, PlanError
from .residency import MEMORY_BITS
from .schedule import check_lanes
from .steps import Steps

DEPTH = 20
_seed = number(int, -1, math.inf, "an integer of at least 0")


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m gen", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Plan a 1-bit-weight wide residual network for an ECP5 board and write its "
                    "build folder:\nVerilog, BRAM init files, plan and report.",
        epilog="example:\n  python -m gen --width 1 --depth 20 --out build/\n"
               "  python -m gen --width 2 --depth 20 --random-weights 1 --board ulx3s-45f "
               "--out build/sizing/")
    parser.add_argument("--width", type=int, metavar="W", help="channels are 16*W, 32*W, 64*W")
    parser.add_argument("--depth", type=int, help="weight layers, 6n+2 (default 20)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="build folder")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--package", type=Path, metavar="FILE",
                        help="network package (default: the shipped one of that width and depth)")
    source.add_argument("--random-weights", type=_seed, metavar="SEED",
                        help="untrained weights, to size a design")
    parser.add_argument("--classes", type=int, help="with --random-weights (default 10)")
    parser.add_argument("--side", type=int, help="image side, with --random-weights (default 32)")
    parser.add_argument("--act-bits", type=int, metavar="B",
                        help=f"activation bits, one of {', '.join(map(str, ACT_BITS))}, "
                             f"with --random-weights (default 4)")
    parser.add_argument("--res-bits", type=int, metavar="B",
                        help="residual bits, with --random-weights (default 12)")
    parser.add_argument("--board", default="ulx3s", choices=sorted(BOARDS),
                        help="default ulx3s, which is ulx3s-85f")
    parser.add_argument("--target-fps", type=positive, metavar="FPS",
                        help="take the smallest array that reaches this (default: the fastest "
                             "of a size that has been routed)")
    parser.add_argument("--lanes", metavar="N|P,CS,M,CR",
                        help="multiply-accumulates per cycle at most, or the array itself: "
                             "pixels, slice channels, outputs, result channels")
    parser.add_argument("--weight-words", type=int, metavar="N",
                        help="words of a group's weight memory; what doesn't fit is streamed "
                             "(default: what the device has room for)")
    parser.add_argument("--batch", type=int, choices=BATCHES,
                        help="frames that share streamed weights: two make more frames a second, "
                             "and wait longer for their scores (default: what makes more)")
    parser.add_argument("--clock-mhz", type=positive, metavar="MHZ",
                        help=f"pipeline clock (default: {ROUTED_MHZ:g}, as arrays have been "
                             "routed)")
    parser.add_argument("--memory-mhz", type=positive, metavar="MHZ",
                        help="SDRAM clock at most, where weights are streamed (default: the "
                             "slowest that costs no time)")
    return parser


def _package(args, board):
    only_random = {"--classes": args.classes, "--side": args.side, "--act-bits": args.act_bits,
                   "--res-bits": args.res_bits}
    given = {name: value for name, value in only_random.items() if value is not None}
    depth = DEPTH if args.depth is None else args.depth
    if args.random_weights is not None:
        if args.width is None:
            raise PlanError("--random-weights needs --width")
        fields = {"classes": args.classes, "side": args.side, "act_bits": args.act_bits,
                  "res_bits": args.res_bits}
        network = Network(depth, args.width,
                          **{name: value for name, value in fields.items() if value is not None})
        # Weights that are too many for the planner may be too many for this machine's memory.
        room = board.memory.words * MEMORY_BITS
        if network.weight_bits > room:
            raise PlanError(f"{network.name} has {network.weight_bits:,} weights, and the memory "
                            f"of {board.name} holds {room:,}; take a smaller --width or --depth")
        return Package.random(network, args.random_weights)
    if args.package is None and args.width is None:
        raise PlanError("name a network with --width (and --depth), or a package with --package")
    path = args.package or shipped(depth, args.width)
    package = Package.load(path)
    network = package.network
    has = {"--classes": network.classes, "--side": network.side,
           "--act-bits": network.act_bits, "--res-bits": network.res_bits,
           "--width": network.width, "--depth": network.depth}
    given |= {name: value for name, value in
              (("--width", args.width), ("--depth", args.depth)) if value is not None}
    for name, value in given.items():
        if has[name] != value:
            raise PlanError(f"{path} has {name} {has[name]}, not {value}; "
                            f"drop the option or name another package")
    return package


def _lane_numbers(text):
    """What ``--lanes`` says: one number, four, or none where it's left out."""
    if text is None:
        return []
    numbers = text.split(",")
    if len(numbers) not in (1, 4) or not all(map(str.isdecimal, numbers)):
        raise PlanError(f"--lanes must be a number or four, P,CS,M,CR, not {text or 'empty'}")
    return [int(number) for number in numbers]


def _lanes(args, network, device, mhz, memory_mhz):
    numbers = _lane_numbers(args.lanes)
    if len(numbers) == 4:
        if args.target_fps is not None:
            raise PlanError("--target-fps picks an array, and --lanes P,CS,M,CR names one; "
                            "drop one of them")
        lanes = Lanes(*numbers)
        check_lanes(network, lanes)
        return lanes
    return choose_lanes(network, device, args.target_fps, numbers[0] if numbers else None, mhz,
                        memory_mhz, (args.batch,) if args.batch else BATCHES)


def _plan(args, package, board):
    mhz = args.clock_mhz or ROUTED_MHZ
    memory_mhz = board.clocks(mhz, args.memory_mhz).beside_mhz
    lanes = _lanes(args, package.network, board.size, mhz, memory_mhz)
    plan = Plan(package, lanes, board.size, mhz, args.weight_words, memory_mhz, args.batch or 1)
    if args.batch is None:
        plan = choose_batch(plan)
    if args.memory_mhz is None:
        plan = replace(plan,
                       memory_mhz=choose_memory_clock(plan, board.memory_clocks(mhz)))
    return plan


def _check_effects(args, plan):
    """Refuse options that would change nothing but the plan's digest."""
    idle = [name for name, given, works in (
        ("--weight-words", args.weight_words, plan.limited),
        ("--memory-mhz", args.memory_mhz, plan.schedule.loads))
        if given is not None and not works]
    if idle:
        raise PlanError(f"all weights of {plan.network.name} stay on the chip, so nothing follows "
                        f"from {' and '.join(idle)}; drop that")


def main(arguments=None):
    """Run the command line; returns the exit code."""
    return command_line(_parser(), _generate, arguments, (ValueError, TypeError))


def _generate(args):
    board, steps = Board.named(args.board), Steps(2)
    package = _package(args, board)
    with steps(f"plan {package.network.name} for {args.board}"):
        plan = _plan(args, package, board)
        check_fit(plan.schedule, DEVICES[board.size], package.network.name)
        _check_effects(args, plan)
    with steps("gateware, init files"):
        write_build(plan, args.out)
    _say(plan)
    print(f"{args.out} written")


def _say(plan):
    """Print what was chosen and what follows from it."""
    package, need, lanes = plan.package, estimate_resources(plan.schedule), plan.lanes
    trained = ("random weights" if package.accuracy is None
               else f"{package.accuracy:.2%} of {package.test_images} test images")
    print(f"  network   {package.network.name}, {package.network.macs / 1e6:.1f} M "
          f"multiply-accumulates, {package.network.weight_bits:,} weight bits, {trained}")
    print(f"  array     {lanes.pixels} pixels x 3 x {lanes.slice_channels} channels x "
          f"{lanes.outputs} outputs = {lanes.count:,} lanes, busy {plan.lane_busy:.0%}")
    print(f"  speed     {plan.cycles_per_frame:,} cycles a frame, "
          f"{plan.clock_mhz * 1e6 / plan.cycles_per_frame:,.0f} fps at {plan.clock_mhz:g} MHz "
          f"(estimate)")
    if plan.schedule.loads:
        print(f"  weights   {plan.streamed_bits:,} bits streamed a frame, "
              f"{len(plan.schedule.loads)} of {len(plan.schedule.layers)} passes; "
              f"{plan.stall_cycles:,} cycles wait for them (SDRAM at {plan.memory_mhz:.1f} MHz, "
              f"{plan.schedule.queue_words * PIECE_BITS:,} bits may queue"
              f"{', two frames at a time' if plan.batch == 2 else ''})")
    print(f"  resources {need['comb']:,} COMB, {need['ff']:,} FF, {need['ebr']} EBR, "
          f"{need['dsp']} DSP of the {plan.device.upper()} (estimate)")


if __name__ == "__main__":
    sys.exit(main())
