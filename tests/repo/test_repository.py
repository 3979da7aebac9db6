"""What the repository promises about itself."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ansatzlab

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_every_public_name_exists_is_sorted_and_documented():
    assert ansatzlab.__all__ == sorted(ansatzlab.__all__)
    for name in set(ansatzlab.__all__) - {"__version__"}:
        assert getattr(ansatzlab, name).__doc__, name


def test_the_readme_example_runs_and_prints_what_it_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.S)
    (shown,) = re.findall(r"```text\n(.*?)```", readme, flags=re.S)
    done = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, check=False, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == shown.split()


def test_the_readme_names_the_two_commands_and_its_picture_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme):
        assert (ROOT / picture).is_file(), picture


def test_ci_is_executable_and_calls_the_readme_test_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "\nmake test\n" in script.read_text()


def test_every_dependency_is_pinned_and_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    decisions = (ROOT / "docs" / "devdocs" / "decisions.md").read_text(encoding="utf-8").lower()
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in [*project["dependencies"], *extras]:
        name = re.split(r"[<>=!\[ ]", requirement)[0].lower()
        assert name in pins or "==" in requirement, f"{name} is not pinned"
        assert name in decisions, f"{name} is not explained in docs/devdocs/decisions.md"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_file_prints_or_leaves_a_note_to_self(path: Path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    calls = [
        node.func.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and hasattr(node.func, "id")
    ]
    assert "print" not in calls


def test_files_stay_readable():
    """A file over about 300 lines, or a function over about 60 lines of code, is asking for a better idea."""
    long_files = {path.name: len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in long_files.items() if lines > 350} == {}
    long_functions = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                if lines > 60:
                    long_functions[f"{path.name}:{node.name}"] = lines
    assert long_functions == {}
