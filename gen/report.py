"""The report of a build: what was planned, and what simulation, place and route measured."""

import json
from pathlib import Path

from .device import DEVICES
from .estimate import estimate_resources
from .files import whole

__all__ = ["NAME", "RESOURCES", "ReportError", "earlier", "measure", "read", "with_measured",
           "write"]

NAME = "report.json"
RESOURCES = ("comb", "ff", "ebr", "dsp")
PAIRS = ("cycles_per_frame", "fmax_mhz", "fps", "latency_us", "lane_busy")  # beside the resources


class ReportError(ValueError):
    """A report that can't be read; the message is one sentence for the user."""


def _pair(estimate):
    return {"estimate": estimate, "measured": None}


def new_report(plan):
    """Report of a plan, nothing measured yet."""
    resources = estimate_resources(plan.schedule)
    cycles, mhz = plan.cycles_per_frame, plan.clock_mhz
    return {
        "network": plan.network.name, "device": plan.device, "digest": plan.digest,
        "options": plan.options,
        "accuracy": plan.package.accuracy, "test_images": plan.package.test_images,
        "streamed_bits": plan.streamed_bits, "stall_cycles": plan.stall_cycles,
        "memory_mhz": plan.memory_mhz, "batch": plan.batch,
        "macs": plan.network.macs, "lanes": plan.lanes.count,
        "cycles_per_frame": _pair(cycles), "fmax_mhz": _pair(mhz),
        "fps": _pair(round(mhz * 1e6 / cycles, 1)),
        "latency_us": _pair(round(plan.latency_cycles / mhz, 2)),
        "lane_busy": _pair(round(plan.lane_busy, 4)),
        "resources": {name: _pair(resources[name]) for name in RESOURCES},
        "provenance": {}}


def read(folder):
    """The report of a build folder; raises :class:`ReportError` where there's none, or a damaged
    one."""
    path = Path(folder) / NAME
    try:
        report = json.loads(path.read_text())
        if not _is_report(report):
            raise ValueError("it isn't a report of this release")
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} can't be read ({getattr(error, 'strerror', None) or error}); "
                          f"generate the build folder again") from None
    return report


def _is_report(fields):
    try:
        pairs = [*(fields[name] for name in PAIRS),
                 *(fields["resources"][name] for name in RESOURCES)]
        made = fields["provenance"].get("bitstream", {"board": "none"})
        return (all({"estimate", "measured"} <= set(pair) for pair in pairs)
                and isinstance(made["board"], str) and fields["device"] in DEVICES
                and "streamed_bits" in fields)
    except (KeyError, TypeError, AttributeError):
        return False


def earlier(folder):
    """The report of a build folder, ``None`` where there's none that can be read."""
    try:
        return read(folder)
    except ReportError:
        return None


def with_measured(report, before):
    """``report`` with what that of ``before``, of the same plan, has beyond its estimates."""
    def pair(new, old):
        return {**new, "measured": old["measured"]}
    extra = {name: before[name] for name in ("latency_cycles",) if name in before}
    return {**report, **{name: pair(report[name], before[name]) for name in PAIRS},
            "resources": {name: pair(value, before["resources"][name])
                          for name, value in report["resources"].items()},
            "provenance": before["provenance"], **extra}


def write(folder, report):
    """Replace the report of a build folder in one step."""
    with whole(Path(folder) / NAME) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n")


def measure(folder, *, cycles_per_frame=None, latency_cycles=None, fmax_mhz=None,
            provenance=None, **resources):
    """Add measured values to the report of a build folder, and what follows from them.

    Parameters
    ----------
    folder : path
    cycles_per_frame, latency_cycles : int, optional
        From simulation, in clock cycles.
    fmax_mhz : float, optional
        After routing.
    comb, ff, ebr, dsp : int, optional
        After place and route.
    provenance : dict, optional
        Tool versions, seed, date and so on, merged into the report's.
    """
    unknown = set(resources) - set(RESOURCES)
    if unknown:
        raise TypeError(f"Measured resources must be of {', '.join(RESOURCES)}, "
                        f"not {', '.join(sorted(unknown))}")
    report = read(folder)
    for name, value in resources.items():
        report["resources"][name]["measured"] = value
    if cycles_per_frame is not None:
        report["cycles_per_frame"]["measured"] = cycles_per_frame
        planned = report["cycles_per_frame"]["estimate"]
        report["lane_busy"]["measured"] = round(
            report["lane_busy"]["estimate"] * planned / cycles_per_frame, 4)
    if latency_cycles is not None:
        report["latency_cycles"] = latency_cycles
    if fmax_mhz is not None:
        report["fmax_mhz"]["measured"] = fmax_mhz
    fmax, cycles = report["fmax_mhz"]["measured"], report["cycles_per_frame"]["measured"]
    if fmax and report["streamed_bits"]:
        # Waits for the memory are counted in cycles of the planned clock: a faster one would have
        # more of them.
        fmax = min(fmax, report["fmax_mhz"]["estimate"])
    if fmax and cycles:
        report["fps"]["measured"] = round(fmax * 1e6 / cycles, 1)
    if fmax and report.get("latency_cycles"):
        report["latency_us"]["measured"] = round(report["latency_cycles"] / fmax, 2)
    report["provenance"].update(provenance or {})
    write(folder, report)
    return report
