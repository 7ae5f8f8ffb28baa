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
    made = report.earlier(options.build)
    if options.board is None and made:
        return Board.of_report(made)
    # Without a report there's no build, as the caller says.
    return Board.named("ulx3s" if options.board is None else options.board)
