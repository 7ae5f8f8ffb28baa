"""Options that the boards' command lines share."""

from gen import report

from .ulx3s import BOARDS, Board

__all__ = ["add_build_and_board", "board_of"]


def add_build_and_board(parser, build):
    """``--build``, with the help text ``build``, and ``--board``, for :func:`board_of`."""
    parser.add_argument("--build", metavar="DIR", required=True, help=build)
    parser.add_argument("--board", metavar="NAME",
                        help=f"one of {', '.join(BOARDS)} (default: the one that the build is for)")


def board_of(options):
    """The :class:`~boards.ulx3s.Board` that a command line names, else that of its build folder."""
    if options.board is not None:
        return Board.named(options.board)
    made = report.earlier(options.build)
    # Without a report there's no build, as the caller says.
    return Board.of_report(made) if made else Board.named("ulx3s")
