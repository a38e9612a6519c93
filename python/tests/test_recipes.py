"""The programs of docs/recipes, each on a server that is empty; and that each has its page."""

import os
import pathlib
import subprocess
import sys

import pytest

RECIPES = pathlib.Path(__file__).parents[2] / "docs" / "recipes"
PROGRAMS = sorted(RECIPES.glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_recipe(program, leveret_server):
    environment = {**os.environ, "LEVERET_URL": leveret_server.url, "AMQP_URL": leveret_server.amqp_url}
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr


def test_each_recipe_has_a_page():
    pages = {page.stem for page in RECIPES.glob("*.md")}
    assert len(PROGRAMS) >= 6 and pages == {program.stem for program in PROGRAMS}
