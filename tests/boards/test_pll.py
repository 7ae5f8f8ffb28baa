import dataclasses

import pytest

from boards.pll import LINK, PFD, VCO, Pll
from boards.uart import Uart


@pytest.mark.parametrize("mhz, setting", [
    # reference, feedback and output dividers as ecppll chooses them
    (50, (1, 2, 12)), (62.5, (2, 5, 10)), (75, (1, 3, 8)), (90, (5, 18, 7)), (100, (1, 4, 6)),
    (112.5, (2, 9, 5)), (120, (5, 24, 5)), (125, (1, 5, 5))])
def test_settings_are_those_of_ecppll(mhz, setting):
    assert Pll.at(25, mhz) == Pll(25, *setting)


@pytest.mark.parametrize("crystal", [8, 12, 25, 30, 48, 50, 100])
def test_every_setting_is_within_the_device_s_ranges(crystal):
    made = 0
    for tenths in range(100, 4000, 131):
        try:
            pll = Pll.at(crystal, tenths / 10)
        except ValueError as error:
            assert "; try " in str(error)
            near = float(str(error).rsplit(" ", 1)[1])
            assert abs(Pll.at(crystal, near).output_mhz - near) <= 0.01
            continue
        made += 1
        assert abs(pll.output_mhz - tenths / 10) <= 0.01
        assert PFD[0] <= pll.pfd_mhz <= PFD[1] and VCO[0] <= pll.vco_mhz <= VCO[1]
    assert made


@pytest.mark.parametrize("mhz, limit, setting", [
    # post and second divider; VCO 800 gives 100 and 133.3 MHz, 525 gives 75 and 131.25
    (100, 133.4, (8, 6)), (100, 100, (6, 6)), (75, 400 / 3, (7, 4)), (90, 143, (6, 4))])
def test_a_second_clock_is_the_fastest_that_one_vco_allows(mhz, limit, setting):
    pll = Pll.at(25, mhz).with_beside(limit)
    assert (pll.post, pll.beside) == setting and pll.beside_mhz <= limit
    assert abs(pll.output_mhz - mhz) <= 0.01 and VCO[0] <= pll.vco_mhz <= VCO[1]
    every = (mhz * post / beside for post in range(1, 129) for beside in range(1, 129)
             if VCO[0] <= mhz * post <= VCO[1])
    assert pll.beside_mhz == pytest.approx(max(f for f in every if f <= limit))


def test_second_clocks_come_slowest_first_and_end_with_the_fastest():
    pll = Pll.at(25, 100)
    every = pll.all_beside(50, 400 / 3)
    speeds = [one.beside_mhz for one in every]
    assert speeds == sorted(set(speeds)) and speeds[0] == 50 and {60, 75, 120} <= set(speeds)
    assert speeds[-1] == pll.with_beside(400 / 3).beside_mhz
    assert all(one.output_mhz == 100 and VCO[0] <= one.vco_mhz <= VCO[1] for one in every)


@pytest.mark.parametrize("mhz, baud, link_mhz, cycles", [
    (100, 2_000_000, 600 / 20, 15), (87.5, 2_000_000, 612.5 / 18, 17),
    (110, 2_000_000, 550 / 11, 25), (100, 3_000_000, 600 / 20, 10), (100, 115_200, 600 / 14, 372),
    (100, 12_000_000, 600 / 10, 5)])
def test_the_link_s_clock_divides_to_the_line_s(mhz, baud, link_mhz, cycles):
    pll = Pll.at(25, mhz)
    linked = pll.with_link(baud)
    assert linked.link_mhz == pytest.approx(link_mhz) and LINK[0] <= link_mhz <= LINK[1]
    assert linked == dataclasses.replace(pll, link=linked.link)
    assert Uart.at(baud, linked.link_mhz * 1e6).divisor == cycles
    # None divides better.
    off = abs(cycles / (link_mhz * 1e6 / baud) - 1)
    for divider in range(1, 129):
        other = pll.vco_mhz / divider * 1e6 / baud
        if LINK[0] <= pll.vco_mhz / divider <= LINK[1] and other >= 4:
            assert off <= abs(round(other) / other - 1) + 1e-6


@pytest.mark.parametrize("make, words", [
    (lambda: Pll.at(25, 114), "can make from 25 MHz, not 114; try 114.286"),
    (lambda: Pll.at(25, 450), "Output frequency must be 3.125 to 400 MHz, not 450"),
    (lambda: Pll.at(5, 100), "Input frequency must be 8 to 400 MHz, not 5"),
    (lambda: Pll(25, 1, 4, 2), "VCO frequency must be 400 to 800 MHz, not 200"),
    (lambda: Pll(25, 1, 4, 9), "VCO frequency must be 400 to 800 MHz, not 900"),
    (lambda: Pll(25, 10, 40, 6), "Phase detector frequency must be 3.125 to 400 MHz, not 2.5"),
    (lambda: Pll(25, 1, 81, 1), "Feedback divider must be 1 to 80, not 81"),
    (lambda: Pll(25, 0, 4, 6), "Reference divider must be 1 to 128, not 0"),
    (lambda: Pll.at(25, 100).with_beside(2), "Second output must be at least 3.125 MHz, not 2"),
    (lambda: Pll(25, 1, 4, 6, 129), "Second output divider must be 1 to 128, not 129"),
    (lambda: Pll(25, 1, 4, 6, link=0.5), "Third output divider must be 1 to 128, not 0.5"),
    (lambda: Pll(25, 1, 4, 6.0), "Output divider must be 1 to 128, not 6.0"),
])
def test_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()
