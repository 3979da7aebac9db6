from pathlib import Path

import pytest

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.sweeps.batch import plan_batches
from ansatzlab.sweeps.grid import expand
from ansatzlab.sweeps.planfile import read_axes

EXAMPLES = Path(__file__).parents[3] / "examples"

YAML = """
data: linnerud
depth: [2, 3]
width: 4
weight_decay: [0, 1e-3, 1E-2, 2.5e1]   # numbers, though YAML 1.1 takes them for text
optimizer:
  - {name: adam, learning_rate: 1e-2, steps: 5}
  - name: gradient_flow
    flow_time: 2
skip:
  - {optimizer: adam, depth: 3}
"""

TOML = """
data = "linnerud"
depth = [2, 3]
width = 4
weight_decay = [0, 1e-3, 1E-2, 2.5e1]
optimizer = [{ name = "adam", learning_rate = 1e-2, steps = 5 }, { name = "gradient_flow", flow_time = 2 }]

[[skip]]
optimizer = "adam"
depth = 3
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_and_toml_say_the_same(tmp_path):
    yaml, toml = (read_axes(write(tmp_path, name, text)) for name, text in (("a.yml", YAML), ("a.toml", TOML)))
    assert yaml == toml
    assert yaml["weight_decay"] == [0, 0.001, 0.01, 25.0]
    specs = expand(yaml, "a.yml")
    assert len(specs) == 12
    assert specs == expand(toml, "a.toml")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "a.json",
            "{}",
            r"unknown kind of file for the grid .*a.json: '.json'; did you mean|Known: .toml, .yaml, .yml",
        ),
        (
            "a.yaml",
            "depth: [2, 3",
            r"a.yaml: is not valid YAML \(expected ',' or '\]', .* in line 1, column 13\); correct",
        ),
        ("a.yaml", "depth: 2\ndepth: 3", r"is not valid YAML \(the key depth is given twice in line 2, column 1\)"),
        ("a.yaml", "optimizer: {name: gd, name: adam}", "the key name is given twice"),
        ("a.yaml", "- 1\n- 2", "a.yaml: got a list; wanted axes, one `name: value` a line"),
        ("a.yaml", "", "a.yaml: got nothing; wanted axes"),
        ("a.yaml", "a: !!python/object:os.system x", "is not valid YAML .could not determine a constructor"),
        ("a.yaml", "[" * 1500, "is not valid YAML .nested too deeply"),
        ("a.toml", "depth = 2 3", r"a.toml: is not valid TOML \(.*line 1"),
        ("a.toml", "depth = 2\ndepth = 3", r"is not valid TOML \(Cannot overwrite a value"),
        ("a.toml", "", "a.toml: got nothing; wanted axes"),
    ],
)
def test_a_file_that_is_no_grid_is_refused_in_one_line(tmp_path, name, text, told):
    path = write(tmp_path, name, text)
    with pytest.raises(InputError, match=told) as caught:
        read_axes(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"none.yaml: cannot be read \(No such file or directory\); wanted a YAML or TOML"
    ):
        read_axes(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"data: \xe9")
    with pytest.raises(InputError, match=r"latin.yaml: cannot be read \(is not UTF-8 text\)"):
        read_axes(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("depth: [2", "dept: [2", "unknown axis of sweep.yaml 'dept'; did you mean 'depth'"),
        ("depth: [2, 3]", "depth: two", "sweep.yaml: got depth = 'two'; wanted a number"),
        (
            "learning_rate: 1e-2",
            "learning_rate: -1",
            "sweep.yaml: adam: got optimizer.learning_rate = -1; wanted greater",
        ),
        ("linnerud", "linerud", "unknown data in sweep.yaml 'linerud'; did you mean 'linnerud'"),
        ("linnerud", "mine.npz", "sweep.yaml: data: mine.npz: cannot be read"),
        (
            "{optimizer: adam, depth: 3}",
            "{optimizer: adm}",
            "sweep.yaml: skip: {'optimizer': 'adm'} matches none of 16",
        ),
        ("{optimizer: adam, depth: 3}", "{data: linnerud}", "sweep.yaml: none of 16 combinations is left"),
    ],
)
def test_a_message_names_the_file_and_the_key(tmp_path, old, new, told):
    assert YAML.count(old) == 1
    path = write(tmp_path, "sweep.yaml", YAML.replace(old, new))
    with pytest.raises(InputError, match=told):
        expand(read_axes(path), path.name)


def test_the_known_kinds_are_told(tmp_path):
    with pytest.raises(UnknownNameError, match=r"Known: \.toml, \.yaml, \.yml"):
        read_axes(tmp_path / "sweep.ini")


@pytest.mark.parametrize(
    ("name", "runs", "single"),
    [("optimisers.yaml", 4 * 6 * 4 * 5 * 5, 0), ("small_sweep.toml", 2 * 2 * 3 * 2, 8)],
)
def test_the_examples_have_the_runs_that_they_say(name, runs, single):
    path = EXAMPLES / name
    specs = expand(read_axes(path), name)
    assert len({spec.run_id for spec in specs}) == len(specs) == runs
    assert f"{runs:,} " in path.read_text(encoding="utf-8").splitlines()[0]
    assert sum(len(batch.specs) == 1 for batch in plan_batches(specs, 64)) == single
