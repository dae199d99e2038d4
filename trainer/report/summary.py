"""The last lines of a run: what was reached, where the time went, what to do next."""

import os
from collections.abc import Mapping

from trainer.progress import Progress
from trainer.report.tensorboard import FOLDER


def print_summary(run_dir: str, data_dir: str, progress: Progress, seconds: float) -> None:
    """Prints the best validation scores, the time ledger and three commands to go on with.

    Args:
        seconds: of this start of the run; the ledger is over all of them.
    """
    best = [epoch for epoch in progress.history if epoch.is_best][-1]
    reached = (
        ""
        if best.val_accuracy is None
        else f", validation accuracy {best.val_accuracy:.4f} (loss {best.val_loss:.4f})"
    )
    print(f"finished in {seconds / 60:.1f} min{reached}")
    print(f"time: {_ledger(progress.seconds)}")
    where = f"--run_dir={run_dir} --data={data_dir}"
    for command in (
        f"python -m trainer.evaluate {where} --split=val",
        f"python -m trainer.predict {where} --split=test --out=submission.csv",
        f"tensorboard --logdir={os.path.join(run_dir, FOLDER)}",
    ):
        print(f"  {command}")


def _ledger(seconds: Mapping[str, Mapping[str, float]]) -> str:
    """`step 120 s, compile 23 s, ...`, summed over the stages, the longest first."""
    spent: dict[str, float] = {}
    for row in seconds.values():
        for what, amount in row.items():
            spent[what] = spent.get(what, 0.0) + amount
    longest_first = sorted(spent.items(), key=lambda item: -item[1])
    return ", ".join(f"{what} {amount:.0f} s" for what, amount in longest_first)
