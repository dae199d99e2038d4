"""The command launch.plan, as it is called."""

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run_plan(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "launch.plan", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_plan_needs_no_tensorflow():
    script = (
        "import sys, launch.plan as plan\n"
        "plan.define_flags()\n"
        "plan.FLAGS(['plan', '--recipe=ford_vs_ferrari', '--num_examples=1000'])\n"
        "plan.main()\n"
        "assert not {'tensorflow', 'keras', 'jax', 'numpy'} & set(sys.modules), 'heavy imports'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_json_holds_the_stages():
    done = run_plan(
        "--recipe=ford_vs_ferrari", "--accelerator=v5e-8", "--num_examples=1000", "--json"
    )
    plan = json.loads(done.stdout)
    assert [stage["name"] for stage in plan["stages"]] == ["head", "upper_half", "finish"]
    assert plan["kaggle_share"] > 0


def test_without_a_number_of_photos_it_says_what_to_add():
    done = run_plan("--recipe=demo")
    assert done.returncode == 2
    assert "--num_examples" in done.stderr


def test_compiling_for_what_is_no_tpu_is_refused():
    done = run_plan("--recipe=demo", "--accelerator=t4", "--num_examples=100", "--compile")
    assert done.returncode == 2
    assert "v5e-8" in done.stderr


def test_an_environment_without_the_compiler_is_told(tmp_path):
    done = run_plan(
        "--recipe=demo",
        "--accelerator=v5e-8",
        "--num_examples=100",
        "--compile",
        f"--aot_python={tmp_path}/no-python",
    )
    assert done.returncode == 2
    assert "no-python" in done.stderr
