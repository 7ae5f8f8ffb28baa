"""What all command lines share."""

import sys

__all__ = ["parsed"]


def parsed(parser, arguments=None):
    """Options from ``arguments`` (the command line's by default), or ``None`` after printing the
    help where there are no arguments at all."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        parser.print_help()
        return None
    return parser.parse_args(arguments)
