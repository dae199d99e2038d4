r"""Starts a training on Vertex AI.

python -m launch.vertex submit --project=ID --region=us-central1 --bucket=gs://mine/runs/b5 \
    --image=us-central1-docker.pkg.dev/ID/images/staged-trainer-tpu:TAG --accelerator=v5e-8 \
    --data=gs://mine/records/cars --recipe=ford_vs_ferrari -- --precision=mixed_bfloat16
"""

import json
from collections.abc import Sequence

from absl import flags

from launch.trainer_flags import check_trainer_flags
from launch.vertex_job import CAPACITIES, VertexJob
from launch.vertex_machines import MACHINES

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this verb."""
    flags.DEFINE_string("project", None, "Google Cloud project.", required=True)
    flags.DEFINE_string("region", "us-central1", "Region of the machines.")
    flags.DEFINE_string("bucket", None, "gs:// folder of the run.", required=True)
    flags.DEFINE_string("image", None, "Container image with its tag.", required=True)
    flags.DEFINE_enum("accelerator", None, tuple(MACHINES), "Machine.", required=True)
    flags.DEFINE_integer("num_machines", 1, "Machines with GPUs.", 1)
    flags.DEFINE_enum("capacity", "standard", CAPACITIES, "Spot is cheaper and can be taken away.")
    flags.DEFINE_string("reservation", None, "projects/P/zones/Z/reservations/NAME.")
    flags.DEFINE_string("service_account", None, "Account that the job runs as.")
    flags.DEFINE_string("data", None, "Built records on gs://.", required=True)
    flags.DEFINE_string("recipe", None, "Name of a recipe.", required=True)
    flags.DEFINE_string("name", None, "Shown in the console; made of the recipe by default.")
    flags.DEFINE_bool("again", False, "Start it although the same job was started before.")
    flags.DEFINE_bool("dry_run", False, "Print the request and the gcloud line, send nothing.")


def main(arguments: Sequence[str]) -> None:
    """Starts the job once, and says how to watch it."""
    job = VertexJob(
        project=FLAGS.project,
        region=FLAGS.region,
        bucket=FLAGS.bucket,
        image=FLAGS.image,
        name=FLAGS.name or f"{FLAGS.recipe}-{FLAGS.accelerator}",
        accelerator=FLAGS.accelerator,
        num_machines=FLAGS.num_machines,
        capacity=FLAGS.capacity,
        reservation=FLAGS.reservation,
        service_account=FLAGS.service_account,
        data=FLAGS.data,
        recipe=FLAGS.recipe,
        arguments=tuple(arguments),
    )
    _, *flags_of_trainer = job.container_arguments()
    check_trainer_flags([f"--run_dir={job.bucket}", *flags_of_trainer], job.num_replicas)
    if FLAGS.dry_run:
        print(json.dumps(job.request(), indent=2))
        print(f"\n# with jobSpec of the above in job.json:\n{job.gcloud_line()}")
        return
    from launch.vertex_client import ENDED, SUCCEEDED, VertexClient

    client = VertexClient()
    earlier = client.same(job)
    running = [found for found in earlier if found.get("state") not in ENDED]
    if running and not FLAGS.again:
        print(f"the same job is there already ({running[0].get('state')}); --again starts another")
        name = running[0]["name"]
    elif earlier and earlier[0].get("state") == SUCCEEDED and not FLAGS.again:
        print(f"the same job has succeeded, its run is in {job.bucket}; --again starts another")
        name = earlier[0]["name"]
    else:
        name = client.create(job)["name"]
        print(f"started {job.name} on {job.num_machines} x {job.machine.machine_type}")
    print(f"  python -m launch.vertex logs --follow --job={name}")
    print(f"  python -m launch.vertex status --job={name}")
    print(f"  python -m launch.vertex cancel --job={name}")
