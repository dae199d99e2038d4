"""launch.vertex: the real google-auth and our calls against a loopback server with faults."""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.google_rest import GoogleError
from launch.vertex_client import VertexClient, parse_job_name
from launch.vertex_cost import describe_cost
from launch.vertex_job import VertexJob
from launch.vertex_logs import log_lines
from launch.vertex_machines import MACHINES, machine_like
from launch.vertex_status import describe_job
from tests.launch.vertex_server import PARENT, environment, serving
from tfrecords_builder.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
FIELDS = {
    "project": "my-project",
    "region": "us-central1",
    "bucket": "gs://my-bucket/runs/b5",
    "image": "us-central1-docker.pkg.dev/my-project/images/trainer:abc",
    "name": "b5 on v5e",
    "accelerator": "v5e-8",
    "data": "gs://my-bucket/records",
    "recipe": "ford_vs_ferrari",
}


def make_job(**changes) -> VertexJob:
    return VertexJob(**{**FIELDS, **changes})


@pytest.fixture
def server():
    with serving() as found:
        yield found


@pytest.fixture
def client(server, tmp_path, monkeypatch):
    for name, value in environment(server, tmp_path).items():
        monkeypatch.setenv(name, value)
    return VertexClient(sleep=lambda seconds: None)


def test_a_tpu_job_asks_for_its_topology():
    (pool,) = make_job().request()["jobSpec"]["workerPoolSpecs"]
    assert pool["machineSpec"] == {"machineType": "ct5lp-hightpu-8t", "tpuTopology": "2x4"}
    assert "--strategy=tpu" in pool["containerSpec"]["args"]


@pytest.mark.parametrize(
    ("accelerator", "num_devices"), [("v5e-8", 8), ("v5e-32", 32), ("v5e-1", 1)]
)
def test_the_trainer_is_told_how_many_cores_are_paid_for(accelerator, num_devices):
    (pool,) = make_job(accelerator=accelerator).request()["jobSpec"]["workerPoolSpecs"]
    assert f"--num_devices={num_devices}" in pool["containerSpec"]["args"]


@pytest.mark.parametrize(
    "changes", [{"accelerator": "a100x8"}, {"accelerator": "t4x2", "num_machines": 2}]
)
def test_a_machine_that_shows_no_gpus_cannot_train_on_its_cpu_instead(changes):
    pool = make_job(**changes).request()["jobSpec"]["workerPoolSpecs"][0]
    assert "--num_devices" not in str(pool["containerSpec"]["args"])


def test_several_machines_are_a_chief_and_workers():
    spec = make_job(accelerator="t4x2", num_machines=3).request()["jobSpec"]
    assert [pool["replicaCount"] for pool in spec["workerPoolSpecs"]] == ["1", "2"]
    assert "--strategy=multiworker" in spec["workerPoolSpecs"][1]["containerSpec"]["args"]


def test_a_spot_job_is_restarted_by_the_service():
    scheduling = make_job(capacity="spot").request()["jobSpec"]["scheduling"]
    assert scheduling == {"restartJobOnWorkerRestart": True, "strategy": "SPOT"}


def test_a_reservation_is_named_in_every_pool():
    name = "projects/p/zones/z/reservations/mine"
    (pool,) = make_job(reservation=name).request()["jobSpec"]["workerPoolSpecs"]
    assert pool["machineSpec"]["reservationAffinity"]["values"] == [name]


@pytest.mark.parametrize(
    "changes",
    [
        {"project": "My Project"},
        {"project": "x"},
        {"region": "moon"},
        {"bucket": "my-bucket"},
        {"bucket": "gs://Bad_Bucket!"},
        {"data": "/local/records"},
        {"image": "trainer"},
        {"name": ""},
        {"accelerator": "v9-8"},
        {"num_machines": 2},
        {"accelerator": "cpu", "num_machines": 2},
        {"accelerator": "v5e-16", "capacity": "spot"},
        {"capacity": "flex_start"},
        {"accelerator": "t4", "capacity": "flex_start"},
        {"reservation": "mine"},
        {"service_account": "me"},
        {"arguments": ("--api_key=123",)},
    ],
)
def test_what_cannot_be_used_is_refused(changes):
    with pytest.raises(UserError, match=r"need|no spot|everybody|use standard|offers it"):
        make_job(**changes)


def test_a_machine_is_recognised_in_its_request():
    for name, machine in MACHINES.items():
        (pool,) = make_job(accelerator=name).request()["jobSpec"]["workerPoolSpecs"]
        assert machine_like(pool["machineSpec"]) == machine


def test_a_job_is_created_and_found(server, client):
    name = client.create(make_job())["name"]
    assert [job["name"] for job in client.same(make_job())] == [name]


def test_another_specification_is_another_job(client):
    client.create(make_job())
    assert client.same(make_job(recipe="stanford_cars")) == []


@pytest.mark.parametrize("fault", ["lost", "cut", 503, 500, 429])
def test_a_fault_while_creating_never_starts_two(server, client, fault):
    server.faults.append(("POST", "customJobs", fault))
    client.create(make_job())
    assert server.num_created == 1


def test_a_second_job_that_is_wanted_is_not_taken_for_the_first(server, client):
    first = client.create(make_job())["name"]
    server.faults.append(("POST", "customJobs", "lost"))
    assert client.create(make_job())["name"] != first
    assert server.num_created == 2


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (403, "roles/aiplatform.user"),
        (404, "look at"),
        (409, "another name"),
        (400, "correct what the service names"),
    ],
)
def test_a_refusal_is_told_with_its_remedy(server, client, status, remedy):
    server.faults.append(("POST", "customJobs", status))
    with pytest.raises(GoogleError, match=f"planted {status}.*{remedy}") as caught:
        client.create(make_job())
    assert caught.value.exit_code == 2
    assert server.num_created == 0


def test_looking_survives_passing_errors(server, client):
    name = client.create(make_job())["name"]
    server.faults.extend(
        [("GET", name, 503), ("GET", name, 429), ("GET", name, "cut"), ("GET", name, "lost")]
    )
    assert client.get(name)["name"] == name


def test_looking_gives_up_in_the_end(server, client):
    name = client.create(make_job())["name"]
    server.faults.extend([("GET", name, 503)] * 9)
    with pytest.raises(GoogleError, match="503") as caught:
        client.get(name)
    assert caught.value.exit_code == 69


def test_cancelling_is_tried_again(server, client):
    name = client.create(make_job())["name"]
    server.faults.append(("POST", ":cancel", 503))
    client.cancel(name)
    assert server.jobs[name]["state"] == "JOB_STATE_CANCELLED"


def entry(number: int, second: int) -> dict:
    return {
        "insertId": str(number),
        "timestamp": f"2026-11-02T10:00:{second:02d}.5Z",
        "textPayload": f"line {number}",
    }


def test_logs_show_each_line_once_and_count_restarts(server, client):
    name = client.create(make_job())["name"]
    states = ["PENDING", "RUNNING", "PENDING", "RUNNING", "SUCCEEDED"]
    server.states.extend(f"JOB_STATE_{state}" for state in states)
    arriving = iter([[entry(1, 1)], [entry(2, 1)], [], [entry(3, 4)]])

    def sleep(seconds: float) -> None:
        server.entries.extend(next(arriving))

    lines = list(log_lines(client, name, follow=True, sleep=sleep))
    assert [line.split("  ")[1] for line in lines if "line" in line] == [
        "line 1",
        "line 2",
        "line 3",
    ]
    assert any("restart 1" in line for line in lines)
    assert lines[-1] == "-- succeeded after 1 restarts"


def test_a_line_of_another_machine_that_arrives_late_is_shown(server, client):
    name = client.create(make_job())["name"]
    server.states.extend(["JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"])
    server.entries.append(entry(2, 9))
    late = entry(1, 3)  # written first, and ingested last
    lines = log_lines(client, name, follow=True, sleep=lambda _: server.entries.append(late))
    assert [line.split("  ")[1] for line in lines if "line" in line] == ["line 2", "line 1"]


def test_logs_without_follow_end_at_once(server, client):
    name = client.create(make_job())["name"]
    server.entries.append(entry(1, 1))
    assert list(log_lines(client, name, follow=False)) == ["2026-11-02T10:00:01  line 1"]


def test_status_reads_what_the_run_wrote(server, client):
    name = client.create(make_job())["name"]
    record = {
        "num_starts": 3,
        "finished": False,
        "history": [{"stage": "finish", "epoch": 2, "val_accuracy": 0.9712}],
    }
    server.objects["/storage/v1/b/my-bucket/o/runs/b5/checkpoints/run.json"] = json.dumps(
        record
    ).encode()
    job = client.get(name)
    lines = "\n".join(describe_job(job, client.run_record(job)))
    assert "stage finish, epoch 2, validation accuracy 0.9712" in lines
    assert "restarts 2" in lines


def test_status_before_the_first_checkpoint(client):
    job = client.get(client.create(make_job())["name"])
    assert "  run      nothing written yet" in describe_job(job, client.run_record(job))


def test_status_of_a_job_that_was_not_submitted_here(server, client):
    name = client.create(make_job())["name"]
    del server.jobs[name]["jobSpec"]["baseOutputDirectory"]
    job = client.get(name)
    assert "  run      nothing written yet" in describe_job(job, client.run_record(job))


def test_a_run_folder_that_may_not_be_read_names_the_role(server, client):
    job = client.get(client.create(make_job())["name"])
    server.faults.append(("GET", "/storage/", 403))
    with pytest.raises(GoogleError, match=r"storage\.objectViewer"):
        client.run_record(job)


def test_status_explains_exit_code_137():
    job = {
        "displayName": "b5",
        "state": "JOB_STATE_FAILED",
        "error": {"message": "The replica workerpool0-0 exited with a non-zero status of 137."},
    }
    assert "want of memory" in describe_job(job, None)[-1]


def test_cost_is_hours_times_machines_times_price():
    job = {
        **make_job(accelerator="t4x2", num_machines=3).request(),
        "startTime": "2026-11-02T10:00:00Z",
        "endTime": "2026-11-02T12:30:00Z",
    }
    lines = describe_cost(job, datetime.datetime.now(datetime.UTC), usd_per_hour=2.0)
    assert lines[:2] == [
        "2.50 h of 3 x n1-standard-16",
        "about $15.00 at $2.00 an hour and machine",
    ]


def test_a_job_that_waits_costs_nothing():
    assert "nothing yet" in describe_cost({}, datetime.datetime.now(datetime.UTC))[0]


@pytest.mark.parametrize("name", ["1001", "projects/p/locations/../customJobs/1", "https://x/1"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(UserError, match="customJobs/NUMBER"):
        parse_job_name(name)


def command(*arguments: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch.vertex", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONWARNINGS": "", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


SUBMIT = ["submit", *(f"--{key}={value}" for key, value in FIELDS.items())]


def test_the_same_submit_twice_starts_one_job(server, tmp_path):
    variables = environment(server, tmp_path)
    first = command(*SUBMIT, "--", "--precision=mixed_bfloat16", variables=variables)
    assert first.returncode == 0, first.stderr
    second = command(*SUBMIT, "--", "--precision=mixed_bfloat16", variables=variables)
    assert "there already" in second.stdout
    assert server.num_created == 1
    (job,) = server.jobs.values()
    arguments = job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
    assert arguments[-1] == "--precision=mixed_bfloat16"


def test_a_job_that_has_succeeded_is_not_paid_for_twice(server, tmp_path):
    variables = environment(server, tmp_path)
    command(*SUBMIT, variables=variables)
    server.finish("JOB_STATE_SUCCEEDED")
    done = command(*SUBMIT, variables=variables)
    assert "has succeeded" in done.stdout
    assert server.num_created == 1


def test_a_job_that_failed_is_gone_on_with(server, tmp_path):
    variables = environment(server, tmp_path)
    command(*SUBMIT, variables=variables)
    server.finish("JOB_STATE_FAILED")
    assert "started" in command(*SUBMIT, variables=variables).stdout
    assert server.num_created == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe=ford_vs_ferarri"], "mean 'ford_vs_ferrari'"),
        (["--", "--wieghts=none"], "wieghts"),
        (["--", "--set=stages.heat.epochs=2"], "heat"),
        (["--", "--precision=half"], "precision"),
        (["--", "--checkpoint_every=soon"], "soon"),
        (["--", "--auto_submit", "--competition=cars"], "they stay here"),
        (["--accelerator=v5e-32"], "smaller than the 32 replicas"),
    ],
)
def test_a_mistake_is_told_before_a_machine_is_paid_for(server, tmp_path, arguments, message):
    done = command(*SUBMIT, *arguments, variables=environment(server, tmp_path))
    assert done.returncode == 2
    assert "trainer.task would not start" in done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert server.requests == []


def test_a_dry_run_sends_nothing_and_shows_no_secret(server, tmp_path):
    variables = environment(server, tmp_path)
    done = command(*SUBMIT, "--dry_run", variables=variables)
    assert "gcloud ai custom-jobs create --project=my-project" in done.stdout
    assert server.requests == []
    assert "PRIVATE KEY" not in done.stdout + done.stderr
    request, _, _ = done.stdout.partition("\n# with")
    assert json.loads(request) == make_job().request()


def test_credentials_that_are_not_accepted_are_told_at_once(server, tmp_path, monkeypatch):
    for name, value in environment(server, tmp_path).items():
        monkeypatch.setenv(name, value)
    waits = []
    server.faults.append(("POST", "/token", 400))
    with pytest.raises(GoogleError, match="log in with gcloud auth") as caught:
        VertexClient(sleep=waits.append).get(f"{PARENT}/1001".removeprefix("/v1/"))
    assert not caught.value.may_pass
    assert waits == []


def test_missing_credentials_are_one_line_with_a_remedy(tmp_path):
    variables = {
        "GOOGLE_APPLICATION_CREDENTIALS": "",
        "CLOUDSDK_CONFIG": str(tmp_path),
        "HOME": str(tmp_path),
        "NO_GCE_CHECK": "true",
    }
    done = command(*SUBMIT, variables=variables)
    assert done.returncode == 2
    assert "gcloud auth application-default login" in done.stderr
    assert "Traceback" not in done.stderr


def test_starting_imports_neither_tensorflow_nor_requests():
    program = (
        "import sys, launch.vertex, launch.vertex_submit, launch.vertex_logs, launch.vertex_cost;"
        "print([n for n in ('tensorflow', 'requests', 'google.auth', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
