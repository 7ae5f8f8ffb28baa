from boards.virtual import main


def test_a_missing_build_is_refused(tmp_path, capsys):
    assert main(["--build", str(tmp_path)]) == 2
    assert "holds no plan.json" in capsys.readouterr().err


def test_help_ends_with_an_example(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1] == (
        "  python -m boards.virtual --build build")
