#!/bin/sh
# The whole job on rendered cars, by the public commands only. `make demo` starts it with the
# project's Python first on the PATH. What an earlier demo left under demo/ is replaced.
set -eu

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

echo "demo: rendered cars to a submission in four commands; all files go to demo/"
rm -rf demo
step python -m tfrecords_builder --source=synthetic --num_images=3000 --out=demo/data
step python -m trainer.task --data=demo/data --run_dir=demo/run --recipe=demo --strategy=cpu
step python -m trainer.evaluate --run_dir=demo/run --data=demo/data --split=val
step python -m trainer.predict --run_dir=demo/run --data=demo/data --split=test \
    --out=demo/submission.csv
python - <<'SUMMARY'
import json
import os
import pathlib
import sys

evaluation = json.loads(pathlib.Path("demo/run/evaluation-val.json").read_text())
programs = os.path.relpath(pathlib.Path(sys.executable).parent)
print(f"""
accuracy     {evaluation["top_1"]:.3f} on held-out rendered cars (chance: 0.100)
records      demo/data, described in demo/data/manifest.json
run          demo/run, described in demo/run/run.json
submission   demo/submission.csv
curves       {programs}/tensorboard --logdir=demo/run/tensorboard""")
SUMMARY
