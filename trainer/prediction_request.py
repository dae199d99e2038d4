"""What is predicted, and by which runs; checked before anything is loaded."""

from dataclasses import dataclass

from trainer.errors import DataError

VALIDATION = "val"
FIT = "fit"
EQUAL = "equal"


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionRequest:
    """What is predicted, and by which runs.

    Raises:
        DataError: when built of parts that do not fit each other.
    """

    run_dirs: tuple[str, ...]
    data_dirs: tuple[str, ...] = ()
    """Built records: one folder for all runs, or one for each; may be empty with `images`."""
    split: str = "test"
    images: str | None = None
    """A folder of photos, predicted instead of a split."""
    weights: str | tuple[float, ...] = FIT
    """Of the runs: "fit" on validation, "equal", or numbers."""

    def __post_init__(self) -> None:
        num_runs = len(self.run_dirs)
        if not num_runs or len(set(self.run_dirs)) != num_runs:
            raise DataError(
                f"--run_dir was given {num_runs} times ({', '.join(self.run_dirs)}); need one or "
                "more different runs; name each once"
            )
        if len(self.data_dirs) not in (1, num_runs) and (self.data_dirs or not self.images):
            raise DataError(
                f"--data was given {len(self.data_dirs)} times for {num_runs} runs; need one "
                "folder for all, or one for each run in the same order; see --help"
            )
        if not isinstance(self.weights, str) and len(self.weights) != num_runs:
            raise DataError(
                f"{len(self.weights)} --ensemble_weights for {num_runs} runs; need one number a "
                "run, in the same order; or fit, or equal"
            )

    def data_dir_of(self, index: int) -> str | None:
        """The records that go with a run; None without records."""
        if not self.data_dirs:
            return None
        return self.data_dirs[index if len(self.data_dirs) > 1 else 0]
