"""Reports that are kept, and README's tables of them."""

import json
from pathlib import Path

import pytest

from boards.record import RecordError, main, record
from boards.table import main as table_main
from boards.table import replace_tables, routed_table, simulated_table
from gen import report
from tests.boards import tiny

README = Path(__file__).parents[2] / "README.md"
MADE = {"board": "ulx3s-25f", "date": "2026-01-02", "seed": 3, "seeds": {"1": 99.5, "3": 104.5},
        "clock_mhz": 100.0, "target_mhz": 100, "timing_met": True, "baud": 2_000_000, "tools": {}}
MARKED = """a
<!-- table: python -m boards.table -->
old
<!-- end of table -->
b
<!-- simulated: python -m boards.table -->
older
<!-- end of simulated -->
c
"""


@pytest.fixture
def folder(tmp_path):
    tiny.save(tiny.plan(), tmp_path)
    return tmp_path


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def simulated(folder):
    report.measure(folder, cycles_per_frame=5000, latency_cycles=6000,
                   provenance={"cycles": "verilator", "cycles_date": "2026-03-04"})


def routed(folder, **changes):
    report.measure(folder, fmax_mhz=104.5, comb=500, ff=400, ebr=20, dsp=4,
                   provenance={"bitstream": {**MADE, **changes}})


def test_a_build_that_nobody_measured_is_not_recorded(folder, results):
    with pytest.raises(RecordError, match="has no measurement; run `python -m sim.run --build"):
        record(folder, results)
    assert not results.exists()


def test_a_design_that_misses_its_clock_is_not_recorded(folder, results):
    simulated(folder)
    routed(folder, timing_met=False)
    with pytest.raises(RecordError, match="only those that meet it are recorded"):
        record(folder, results)


def test_a_routed_design_takes_the_place_of_a_simulated_one_and_not_the_other_way(folder, results):
    simulated(folder)
    path = record(folder, results)
    assert path.name == "wrn-8-1-ulx3s-25f.json"
    assert json.loads(path.read_text()) == report.read(folder)
    routed(folder)
    assert record(folder, results) == path
    kept = path.read_text()
    assert json.loads(kept)["provenance"]["bitstream"] == MADE
    tiny.save(tiny.plan(), folder)
    simulated(folder)
    with pytest.raises(RecordError, match="is of a routed design, and .* holds no bitstream"):
        record(folder, results)
    assert path.read_text() == kept


def test_each_design_is_in_the_table_of_what_was_done_with_it(folder, results):
    simulated(folder)
    record(folder, results)
    assert routed_table(results).count("\n") == 1
    row = simulated_table(results).split("\n")[2]
    assert "| wrn-8-1, ulx3s-25f | random weights | 384, " in row
    assert "| 5,000 | 20,000 at 100 MHz | 60 us |" in row and "| 2026-03-04 |" in row
    assert f"| `{tiny.plan().options}` |" in row
    routed(folder)
    record(folder, results)
    assert simulated_table(results).count("\n") == 1
    row = routed_table(results).split("\n")[2]
    assert "| wrn-8-1, ulx3s-25f | random weights | 384, " in row
    assert "| 5,000 | 104.5 MHz | **20,900** | 57 us | 500 (" in row
    assert f"| 3 (1: 99.5), 2026-01-02 | `{tiny.plan().options}` |" in row


def test_a_folder_without_a_report_is_refused(tmp_path, capsys):
    assert main(["--build", str(tmp_path)]) == 2
    assert "report.json can't be read" in capsys.readouterr().err


def test_help_ends_with_an_example(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("  python -m boards.record")


def test_readme_shows_the_recorded_results():
    text = README.read_text()
    assert replace_tables(text) == text, "run `python -m boards.table --update README.md`"


def test_a_file_without_markers_is_refused_and_left_alone(tmp_path, capsys):
    file = tmp_path / "notes.md"
    file.write_text("no table here\n")
    assert table_main(["--update", str(file)]) == 2
    assert "must hold the lines" in capsys.readouterr().err
    assert file.read_text() == "no table here\n"


def test_only_the_tables_are_replaced(results):
    new = replace_tables(MARKED, results)
    assert new == MARKED.replace("older", simulated_table(results)).replace(
        "old", routed_table(results))
    for missing in ("<!-- end of table -->", "<!-- end of simulated -->"):
        with pytest.raises(ValueError, match=missing):
            replace_tables(MARKED.replace(missing, ""), results)
