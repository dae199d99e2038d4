"""Commands with verbs: `python -m launch.NAME VERB --flag=value`, one module a verb."""

import importlib
import sys
from collections.abc import Collection, Mapping
from typing import NoReturn

from absl import flags

from tfrecords_builder import command_line


def run_verb(
    command: str, text: str, verbs: Mapping[str, str], take_arguments: Collection[str]
) -> NoReturn:
    """Runs the verb that the command line names.

    Args:
        command: for messages, such as launch.kaggle.
        text: printed for --help.
        verbs: the module of each verb; it has `define_flags` and `main`, and its docstring and
            flags are its --help.
        take_arguments: verbs whose `main` gets what stands behind `--`.
    """
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ("", "-h", "--help"):
        print(text)
        sys.exit(0 if verb else command_line.EXIT_USER_ERROR)
    if verb not in verbs:
        print(
            f"error: there is no verb {verb!r}; one of {', '.join(verbs)} is needed; see "
            f"python -m {command} --help",
            file=sys.stderr,
        )
        sys.exit(command_line.EXIT_USER_ERROR)
    del sys.argv[1]
    module = importlib.import_module(verbs[verb])
    module.define_flags()
    # absl shows the docstring and the flags of the main module only.
    sys.modules["__main__"].__doc__ = module.__doc__
    for flag in flags.FLAGS.get_key_flags_for_module(module.__name__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    if verb in take_arguments:
        command_line.run_with_arguments(module.main)
    command_line.run(module.main)
