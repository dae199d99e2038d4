"""What the guides show has to be there: links, commands and their flags, recipes."""

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guides import GUIDES, REPOSITORY, guide_commands, guide_name

WITH_VERBS = ("launch.kaggle", "launch.vertex")


def _shown(path: Path) -> list[str]:
    """The `python -m` commands of a guide; what stands behind -- as a command of its own."""
    lines = [each.text for each in guide_commands(path) if each.text.startswith("python -m ")]
    # What launchers pass on is a command line of the trainer.
    passed_on = [
        f"python -m trainer.task {rest}" for line in lines if (rest := line.partition(" -- ")[2])
    ]
    return [line.partition(" -- ")[0] for line in lines] + passed_on


@functools.cache
def _flags(*command: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--helpfull"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found = set(re.findall(r"^ *-?-?\S*?--(\[no\])?([a-z_0-9]+)", done.stdout, re.MULTILINE))
    return {name for _, name in found}


@pytest.mark.parametrize("guide", GUIDES, ids=guide_name)
def test_links_lead_somewhere(guide):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", guide.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (guide.parent / target).exists(), f"{guide_name(guide)} links to {target}"


@pytest.mark.parametrize("guide", GUIDES, ids=guide_name)
def test_commands_take_the_flags_that_are_shown(guide):
    for line in _shown(guide):
        words = [word for word in shlex.split(line) if not word.startswith(("[", "..."))][2:]
        has_verb = words[0] in WITH_VERBS and not words[1].startswith("-")
        verb = 2 if has_verb else 1
        shown = {word[2:].partition("=")[0] for word in words[verb:] if word.startswith("--")}
        known = _flags(*words[:verb]) | {"help", "helpfull"}
        known |= {f"no{name}" for name in known}
        assert shown <= known, f"{guide_name(guide)} shows {line!r}"


@pytest.mark.parametrize("guide", GUIDES, ids=guide_name)
def test_recipes_that_are_shown_exist(guide):
    for name in re.findall(r"--recipe=([a-z_0-9]+)", guide.read_text(encoding="utf-8")):
        assert (REPOSITORY / "trainer" / "recipes" / f"{name}.py").is_file(), guide_name(guide)
