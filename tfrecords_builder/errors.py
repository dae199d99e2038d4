"""The base of every error that a user can cause and mend."""


class UserError(Exception):
    """Something the user gave cannot be used.

    The message has three parts in one line: what was received, what is needed, what to do.
    Commands print it without a traceback and end with `exit_code`.
    """

    exit_code = 2
