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

from launch.verbs import run_verb

VERBS = {
    "submit": "launch.vertex_submit",
    "status": "launch.vertex_status",
    "logs": "launch.vertex_logs",
    "cancel": "launch.vertex_cancel",
    "cost": "launch.vertex_cost",
}
"""The module of each verb: it has `define_flags` and `main`."""

if __name__ == "__main__":
    run_verb("launch.vertex", __doc__ or "", VERBS, take_arguments=("submit",))
