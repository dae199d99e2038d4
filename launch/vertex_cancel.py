"""Stops a job on Vertex AI; its checkpoints stay.

python -m launch.vertex cancel --job=projects/P/locations/R/customJobs/N
"""

from absl import flags

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this verb."""
    flags.DEFINE_string("job", None, "Name of the job, as submit prints it.", required=True)


def main() -> None:
    """Asks for the end of the job, unless it has ended."""
    from launch.vertex_client import ENDED, VertexClient

    client = VertexClient()
    state = client.get(FLAGS.job)["state"]
    if state in ENDED:
        print(f"the job has ended already ({state.removeprefix('JOB_STATE_').lower()})")
        return
    client.cancel(FLAGS.job)
    print("asked to stop; the run's checkpoints stay, and the same submit goes on from them")
