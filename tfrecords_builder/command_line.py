"""One way into every command: absl flags in, a documented exit code out."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from tfrecords_builder.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""As of a program that SIGPIPE ended."""


def run(main: Callable[[], None]) -> NoReturn:
    """Parses the flags, calls `main` and ends the process.

    Exit codes: 0 done; 1 a defect of ours (traceback); 2 the user's input cannot be used (one
    line on stderr); 75 stopped on purpose before the end, start the same command again to go on;
    130 interrupted from the keyboard; 141 whoever read our output went away (`| head`).
    """

    def without_arguments(arguments: Sequence[str]) -> None:
        if arguments:
            raise UserError(f"unexpected argument {arguments[0]!r}; every setting is a --flag")
        main()

    run_with_arguments(without_arguments)


def run_with_arguments(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Like `run`, for commands with verbs and files beside their flags: `main` gets those."""

    def guarded(argv: Sequence[str]) -> int:
        try:
            main(argv[1:])
        except UserError as error:
            sys.stdout.flush()
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        return 0

    try:
        app.run(guarded, flags_parser=_parse_flags)
    except BrokenPipeError:
        _end_without_reader()


def _end_without_reader() -> NoReturn:
    # Python writes out what is left when it ends, which would fail once more, with a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(EXIT_BROKEN_PIPE)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Like absl's own, but a wrong flag is one line instead of the whole help text, and --help is
    no failure: a container whose command it is has done what was asked."""
    try:
        remaining: list[str] = flags.FLAGS(list(argv))
    except SystemExit:  # of --help and its kin, with 1
        sys.exit(0)
    except flags.Error as error:
        print(f"error: {error}; see --help", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    return remaining
