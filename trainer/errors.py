"""What can go wrong in a run, one class for each way in which the caller must react."""

from tfrecords_builder.errors import UserError


class RecipeError(UserError):
    """A recipe, a stage or a `--set` override that cannot be used."""


class DeviceError(UserError):
    """An accelerator was asked for that this machine does not have, or a batch it cannot divide."""


class RunFolderError(UserError):
    """A run folder that holds something else than what this command needs."""


class DataError(UserError):
    """Records that cannot be read, or that do not fit the run."""


class TrainingError(UserError):
    """Training cannot go on: the loss or every gradient is not a number, a full disk.

    The last checkpoint is intact; the exit code tells a supervisor not to start again.
    """

    exit_code = 3


class LossError(TrainingError):
    """The loss exploded or is not a number; a capsule holds what led to it.

    Attributes:
        capsule: its folder.
    """

    def __init__(self, message: str, capsule: str):
        super().__init__(message)
        self.capsule = capsule


class Preempted(UserError):
    """Stopped on purpose before the end; the same command goes on from the checkpoint.

    The exit code is EX_TEMPFAIL of sysexits.h.
    """

    exit_code = 75


class ClusterError(UserError):
    """The processes of a run have not found together, or lost one; start all of them again.

    They go on from the last checkpoint. Not the code of `Preempted`, since nobody wanted this stop;
    that of EX_IOERR of sysexits.h.
    """

    exit_code = 74
