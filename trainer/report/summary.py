"""The last lines of a run: what was reached, where the time went, what to do next."""

import shlex

from trainer.progress import Progress, total_seconds
from trainer.report.durations import describe_seconds
from trainer.report.tensorboard import folder_of


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
    print(f"finished in {describe_seconds(seconds)}{reached}")
    spent = total_seconds(progress.seconds)
    print("time: " + ", ".join(f"{what} {describe_seconds(secs)}" for what, secs in spent.items()))
    where = [f"--run_dir={run_dir}", f"--data={data_dir}"]
    # Without validation photos there are those of the training alone.
    split = [] if best.val_accuracy is not None else ["--split=train"]
    for command in (
        ["python", "-m", "trainer.evaluate", *where, *(split or ["--split=val"])],
        ["python", "-m", "trainer.report", *where, *split],
        ["tensorboard", f"--logdir={folder_of(run_dir)}"],
    ):
        print(f"  {shlex.join(command)}")
