#!/bin/sh
# The whole job on rendered cars, by the public commands only. `make demo` starts it with the
# project's Python first on the PATH. What an earlier demo left under demo/ is replaced.
set -eu

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

rm -rf demo
step python -m tfrecords_builder --source=synthetic --num_images=2200 --out=demo/data
step python -m trainer.task --data=demo/data --run_dir=demo/run --recipe=demo --strategy=cpu
step python -m trainer.evaluate --run_dir=demo/run --data=demo/data --split=val
step python -m trainer.predict --run_dir=demo/run --data=demo/data --split=test --out=demo/submission.csv
