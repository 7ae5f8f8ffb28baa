"""When a router is stopped."""

import pytest

from boards.nextpnr_log import (
    DIVERGED,
    DIVERGED_BY,
    FEW,
    LONGEST,
    OFTEN,
    gets_nowhere,
    takes_too_long,
)

MUCH = DIVERGED_BY + 5


@pytest.mark.parametrize("counts, nowhere", [
    ([9000] + [0, 3] * (OFTEN // 2), True), ([9000] + [0, 3] * (OFTEN // 2 - 1), False),
    # The best one counts, the last of several; and how far it is from there.
    ([9000, 4] + [MUCH] * DIVERGED, True),
    ([9000, 4, 4] + [MUCH] * (DIVERGED - 1), False),
    ([9000, FEW + 1] + [FEW + 2] * DIVERGED, True),
    ([9000, FEW + 1] + [FEW + 2] * (DIVERGED - 1), False),
    ([9000, FEW] + [FEW + 2] * DIVERGED, False),
    ([9000, 5] + [MUCH] * DIVERGED, False), ([9000, 4] + [MUCH] * DIVERGED + [4], False)])
def test_a_router_that_may_still_gain_is_not_stopped(counts, nowhere, tmp_path):
    log = tmp_path / "top.tim"
    assert not gets_nowhere(log)
    log.write_text("".join(f"Info: iter={i} wires=9 overused={count} overuse=0\n"
                           for i, count in enumerate(counts)))
    assert gets_nowhere(log) == nowhere


@pytest.mark.parametrize("seconds, too_long", [
    ((), False), ((LONGEST,), False), ((LONGEST + 0.01,), True), ((9, LONGEST + 1), True)])
def test_the_other_router_is_stopped_after_an_hour(seconds, too_long, tmp_path):
    log = tmp_path / "top.tim"
    assert not takes_too_long(log)
    log.write_text("Info: Routing 78 arcs.\n" + "".join(
        f"Info:     {k + 1}000 |    64097      54898 |  391   609 |      1486|       2.67  "
        f"{total:10.2f}|\n" for k, total in enumerate(seconds)))
    assert takes_too_long(log) == too_long
