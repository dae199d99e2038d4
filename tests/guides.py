"""The commands that the guides show."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
GUIDES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
PROGRAMS = ("curl", "docker", "gcloud", "git", "make", "pip", "python", "python3", "tensorboard")
LOGS = ("trial.md",)
"""What was typed once, on some day: no instructions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command of a guide, on one line, as the reader is to type it."""

    guide: str
    """Path in the repository."""
    text: str

    def __str__(self) -> str:
        return f"{self.guide}: {self.text}"


def guide_name(path: Path) -> str:
    """Path of a guide in the repository."""
    return path.relative_to(REPOSITORY).as_posix()


def guide_commands(path: Path) -> list[Command]:
    """The commands of a guide in their order: lines of code blocks, and spans of running text.

    A command of a block starts with one of `PROGRAMS`; in running text only `python ...` is one.
    Continued lines are joined; prompts and comments are cut off.
    """
    if path.name in LOGS:
        return []
    found = []
    for part in _parts(path.read_text(encoding="utf-8").replace("\\\n", " ")):
        line = part.strip().removeprefix("$ ").partition(" #")[0]
        if line.split(" ")[0] in PROGRAMS:
            found.append(Command(guide=guide_name(path), text=" ".join(line.split())))
    return found


def _parts(text: str) -> Iterator[str]:
    """Lines of code blocks and code spans that start with `python`, in their order."""
    for number, block in enumerate(text.split("```")):
        if number % 2:
            yield from block.splitlines()
            continue
        for match in re.finditer(r"^ {4,}(\S.*)$|`(python [^`]+)`", block, re.MULTILINE):
            yield match[1] or match[2].replace("\n", " ")
            # An indented line may also be text of a list.
            yield from re.findall(r"`(python [^`]+)`", match[1] or "")
