"""Options that the boards' command lines share."""

from .ulx3s import BOARDS

__all__ = ["add_build_and_board"]


def add_build_and_board(parser, build):
    """``--build``, with the help text ``build``, and ``--board``."""
    parser.add_argument("--build", metavar="DIR", required=True, help=build)
    parser.add_argument("--board", default="ulx3s", metavar="NAME",
                        help=f"one of {', '.join(BOARDS)} (default: %(default)s)")
