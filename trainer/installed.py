"""Optional packages: asked for before the work that would need them starts."""

import importlib.util
from collections.abc import Sequence

from tfrecords_builder.errors import UserError


class NotInstalledError(UserError):
    """A package that only some commands need is not here."""


def require_modules(modules: Sequence[str], what: str, install: str) -> None:
    """Lets pass what can be imported; imports nothing itself.

    Args:
        modules: top-level ones.
        what: needs them, for the message.
        install: argument of pip that brings them.

    Raises:
        NotInstalledError: one is missing.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise NotInstalledError(
            f"{what} needs {', '.join(missing)}, which cannot be imported; install it: "
            f"pip install '{install}'"
        )
