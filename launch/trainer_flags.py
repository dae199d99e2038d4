"""Flags of trainer.task, tried here before a machine somewhere else is paid for.

A process of its own: the launching command has flags of the same names.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from tfrecords_builder import command_line
from tfrecords_builder.errors import UserError

if TYPE_CHECKING:
    from trainer.recipe import Recipe

_ANY_NUM_EXAMPLES = 10_000


def check_trainer_flags(arguments: Sequence[str], num_replicas: int) -> None:
    """Checks that trainer.task understands its flags, and that the recipe suits the machine.

    Takes about half a second; looks at no data.

    Args:
        arguments: of trainer.task, all of them.
        num_replicas: that the machine has.

    Raises:
        UserError: with what trainer.task would have said over there.
    """
    command = [sys.executable, "-m", "launch.trainer_flags", f"--num_replicas={num_replicas}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"trainer.task would not start: {said.removeprefix('error: ')}")


def main() -> None:
    """Does what trainer.task does before it looks at anything."""
    from trainer.engine.stop import parse_duration
    from trainer.plan import plan_stages
    from trainer.session_options import resolve_recipe
    from trainer.task import session_options

    options = session_options()
    for duration in (options.deadline, options.checkpoint_every):
        parse_duration(duration or "0s")
    if options.auto_submit is not None:
        raise UserError(
            "--auto_submit needs your credentials on the machine that trains; they stay here; use "
            "trainer.predict and trainer.submit on the finished run"
        )
    recipe = resolve_recipe(options)
    _check_weights(recipe)
    plan_stages(
        recipe,
        num_examples=_ANY_NUM_EXAMPLES,
        num_replicas=flags.FLAGS.num_replicas,
        batch_scaling=options.batch_scaling,
        rate_scaling=options.rate_scaling,
    )


def _check_weights(recipe: "Recipe") -> None:
    from trainer.weights import check_weights
    from trainer.weights.published import NAMES

    if recipe.weights in NAMES:
        check_weights(recipe.weights, recipe.backbone)
    elif os.path.exists(os.path.expanduser(recipe.weights)):
        raise UserError(
            f"--weights={recipe.weights} is on this machine; need weights that the other one can "
            "read; copy them to gs://, or attach them as a data set and give their path over there"
        )


if __name__ == "__main__":
    import trainer.task  # noqa: F401, defines its flags

    flags.DEFINE_integer("num_replicas", 1, "That the machine has.", 1)
    command_line.run(main)
