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

from launch.verbs import run_verb

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

if __name__ == "__main__":
    run_verb("launch.kaggle", __doc__ or "", VERBS, take_arguments=("push",))
