"""Kaggle from the shell: python -m launch.kaggle VERB --flag=value ...

Verbs:
  download   fetch the data of a competition: --competition=NAME [--out=DIR]

`python -m launch.kaggle VERB --help` shows the flags of a verb.
"""

import importlib
import sys
from typing import NoReturn

from tfrecords_builder import command_line

VERBS = {"download": "launch.kaggle_download"}
"""The module of each verb: it has `define_flags` and `main`."""


def main() -> NoReturn:
    """Runs the verb that the command line names."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ("", "-h", "--help"):
        print(__doc__)
        sys.exit(0 if verb else command_line.EXIT_USER_ERROR)
    if verb not in VERBS:
        print(
            f"error: there is no verb {verb!r}; one of {', '.join(VERBS)} is needed; see "
            "python -m launch.kaggle --help",
            file=sys.stderr,
        )
        sys.exit(command_line.EXIT_USER_ERROR)
    del sys.argv[1]
    module = importlib.import_module(VERBS[verb])
    module.define_flags()
    command_line.run(module.main)


if __name__ == "__main__":
    main()
