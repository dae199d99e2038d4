"""Kaggle from the shell: python -m launch.kaggle VERB --flag=value ...

Verbs:
  doctor     look for what would stop a session: [--accelerator=tpu] [--competition=NAME]
  push       train in a session there: --run_dir=DIR --recipe=NAME [--accelerator=tpu] ...
  status     how the newest session stands: --run_dir=DIR
  logs       what it printed: --run_dir=DIR [--follow]
  fetch      get what it left into the run's folder: --run_dir=DIR
  chain      go on, session after session, until the run is done: --run_dir=DIR
  download   fetch the data of a competition: --competition=NAME [--out=DIR]

`python -m launch.kaggle VERB --help` shows the flags of a verb.
"""

import importlib
import sys
from typing import NoReturn

from tfrecords_builder import command_line

VERBS = {
    "doctor": "launch.kaggle_doctor",
    "push": "launch.kaggle_push",
    "status": "launch.kaggle_status",
    "logs": "launch.kaggle_logs",
    "fetch": "launch.kaggle_fetch",
    "chain": "launch.kaggle_chain",
    "download": "launch.kaggle_download",
}
"""The module of each verb: it has `define_flags` and `main`."""
_TAKE_ARGUMENTS = ("push",)
"""Verbs that pass on what stands behind `--`."""


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
    if verb in _TAKE_ARGUMENTS:
        command_line.run_with_arguments(module.main)
    command_line.run(module.main)


if __name__ == "__main__":
    main()
