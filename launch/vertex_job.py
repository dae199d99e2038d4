"""A custom job of Vertex AI as plain data: checked, and written as the service wants it."""

import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from launch.vertex_machines import FLEX_START_GPUS, Machine, machine_of
from tfrecords_builder.errors import UserError

SUBMISSION_LABEL = "staged-trainer-submission"
CAPACITIES = ("standard", "spot", "flex_start")
_SECRET = re.compile(r"(api[-_]?key|token|secret|password|credential)", re.IGNORECASE)
_PATTERNS = {
    "project": (r"[a-z][a-z0-9-]{4,28}[a-z0-9]", "an id such as my-project-123"),
    "region": (r"[a-z]+-[a-z]+[0-9]+", "a region such as us-central1"),
    "bucket": (r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^\s?#]*)?", "gs://BUCKET/FOLDER"),
    "data": (r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^\s?#]*)?", "records on gs://"),
    "image": (
        r"[a-z0-9][a-z0-9.:-]*(/[a-zA-Z0-9._-]+)+(:[\w.-]+|@sha256:[0-9a-f]{64})",
        "an image with its tag or digest, HOST/PATH:TAG",
    ),
    "name": (r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,127}", "1 to 128 letters, digits, spaces, . _ -"),
    "reservation": (
        r"projects/[^/\s]+/zones/[^/\s]+/reservations/[^/\s]+",
        "projects/P/zones/Z/reservations/NAME",
    ),
    "service_account": (
        r"[^@\s]+@[^@\s]+\.gserviceaccount\.com",
        "the address of an account, NAME@PROJECT.iam.gserviceaccount.com",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VertexJob:
    """What to run, where, on what.

    Raises:
        UserError: when made, of a value that cannot be used.
    """

    project: str
    region: str
    bucket: str
    """gs:// folder of the run: checkpoints, model and TensorBoard go below it."""
    image: str
    name: str
    accelerator: str
    data: str
    recipe: str
    num_machines: int = 1
    capacity: str = "standard"
    reservation: str | None = None
    """projects/P/zones/Z/reservations/NAME"""
    service_account: str | None = None
    arguments: tuple[str, ...] = ()
    """Further flags of `trainer.task`."""

    def __post_init__(self) -> None:
        for field, (pattern, needed) in _PATTERNS.items():
            value = getattr(self, field)
            if value is not None and not re.fullmatch(pattern, value):
                raise UserError(f"--{field}={value!r} cannot be used; need {needed}; correct it")
        machine = self.machine
        if self.num_machines < 1 or (machine.is_tpu and self.num_machines > 1):
            raise UserError(
                f"--num_machines={self.num_machines} on {self.accelerator}; need 1, a bigger slice "
                "such as v5e-16 for more TPU chips, or machines with GPUs"
            )
        if self.num_machines > 1 and machine.num_gpus == 0:
            raise UserError(
                f"--num_machines={self.num_machines} on {self.accelerator}; several machines need "
                "GPUs; name an --accelerator with them"
            )
        if self.capacity == "spot" and machine.num_hosts > 1:
            raise UserError(
                f"--capacity=spot with {self.accelerator}; the service has no spot TPU slices of "
                "several hosts; use v5e-8, or --capacity=standard"
            )
        if self.capacity == "flex_start" and machine.gpu_type not in FLEX_START_GPUS:
            raise UserError(
                f"--capacity=flex_start with {self.accelerator}; the service offers it for L4, "
                "A100 and H100; use standard or spot"
            )
        for argument in self.arguments:
            if _SECRET.search(argument.partition("=")[0]):
                raise UserError(
                    f"{argument.partition('=')[0]} looks like a secret; arguments of a job can be "
                    "read by everybody in the project; leave it out and give --service_account "
                    "the right to what is needed"
                )

    @property
    def machine(self) -> Machine:
        """What `accelerator` stands for."""
        return machine_of(self.accelerator)

    @property
    def strategy(self) -> str:
        """Of `trainer.task` on these machines."""
        return "multiworker" if self.num_machines > 1 else self.machine.strategy

    @property
    def num_replicas(self) -> int:
        """How many devices train together."""
        return self.num_machines * max(1, self.machine.num_devices)

    def container_arguments(self) -> list[str]:
        """Of the image, whose entry point is `python -m`; the run folder comes from the service.

        On a TPU the trainer ends where it does not see all cores that are paid for. With GPUs, of
        which it sees none, the flag would let it train on as many pieces of the CPU.
        """
        return [
            "trainer.task",
            f"--data={self.data}",
            f"--recipe={self.recipe}",
            f"--strategy={self.strategy}",
            *([f"--num_devices={self.machine.num_devices}"] if self.machine.is_tpu else []),
            *self.arguments,
        ]

    def submission_id(self) -> str:
        """The same for the same job: 32 hexadecimal digits."""
        text = json.dumps(self._spec(), sort_keys=True) + self.name + self.project + self.region
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def request(self) -> dict[str, Any]:
        """The body of `customJobs.create`."""
        return {
            "displayName": self.name,
            "labels": {SUBMISSION_LABEL: self.submission_id()},
            "jobSpec": self._spec(),
        }

    def gcloud_line(self) -> str:
        """The equal gcloud command, with the job's specification in a file `job.json`."""
        command = f"gcloud ai custom-jobs create --project={self.project} --region={self.region}"
        labels = f"{SUBMISSION_LABEL}={self.submission_id()}"
        return (
            f"{command} --display-name={shlex.quote(self.name)} --labels={labels} --config=job.json"
        )

    def _spec(self) -> dict[str, Any]:
        chief = self._pool(1)
        scheduling: dict[str, Any] = {"restartJobOnWorkerRestart": True}
        if self.capacity != "standard":
            scheduling["strategy"] = self.capacity.upper()
        spec: dict[str, Any] = {
            "workerPoolSpecs": [chief],
            "scheduling": scheduling,
            "baseOutputDirectory": {"outputUriPrefix": self.bucket.rstrip("/")},
        }
        if self.num_machines > 1:
            spec["workerPoolSpecs"].append(self._pool(self.num_machines - 1))
        if self.service_account:
            spec["serviceAccount"] = self.service_account
        return spec

    def _pool(self, num_replicas: int) -> dict[str, Any]:
        machine = self.machine
        spec: dict[str, Any] = {"machineType": machine.machine_type}
        if machine.num_gpus:
            spec |= {"acceleratorType": machine.gpu_type, "acceleratorCount": machine.num_gpus}
        if machine.tpu_topology:
            spec["tpuTopology"] = machine.tpu_topology
        if self.reservation:
            spec["reservationAffinity"] = {
                "reservationAffinityType": "SPECIFIC_RESERVATION",
                "key": "compute.googleapis.com/reservation-name",
                "values": [self.reservation],
            }
        return {
            "machineSpec": spec,
            "replicaCount": str(num_replicas),
            "containerSpec": {"imageUri": self.image, "args": self.container_arguments()},
        }
