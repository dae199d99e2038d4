"""Vertex AI from the shell: python -m launch.vertex VERB --flag=value ...

Verbs:
  submit   start a custom job: --project=ID --region=NAME --bucket=gs://... --image=IMAGE
           --accelerator=NAME --data=gs://... --recipe=NAME [-- flags of trainer.task]
  status   how a job stands: --job=projects/.../customJobs/ID
  logs     what it printed: --job=... [--follow]
  cancel   stop it: --job=...
  cost     what it has cost so far: --job=...

`python -m launch.vertex VERB --help` shows the flags of a verb. Credentials are Google's
application-default ones: `gcloud auth application-default login`.
"""

import importlib
import sys
from typing import NoReturn

from tfrecords_builder import command_line

VERBS = {
    "submit": "launch.vertex_submit",
    "status": "launch.vertex_status",
    "logs": "launch.vertex_logs",
    "cancel": "launch.vertex_cancel",
    "cost": "launch.vertex_cost",
}
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
            "python -m launch.vertex --help",
            file=sys.stderr,
        )
        sys.exit(command_line.EXIT_USER_ERROR)
    del sys.argv[1]
    module = importlib.import_module(VERBS[verb])
    module.define_flags()
    if verb == "submit":
        command_line.run_with_arguments(module.main)
    command_line.run(module.main)


if __name__ == "__main__":
    main()
