"""Modules that are imported when they are used: nobody notices but the clock."""

import subprocess
from pathlib import Path

import pytest

from deepscaler.system.processes import python_command

POSTPONE = "import sys; from deepscaler.system.seldom import postpone; postpone()\n"
IS_THERE = "is_there = lambda name: 'loaded' if hasattr(sys.modules[name], '__builtins__') else 'not yet'\n"


def told(code: str) -> list[str]:
    done = subprocess.run(python_command("-c", POSTPONE + IS_THERE + code), capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def test_a_module_is_loaded_when_something_of_it_is_used() -> None:
    code = "import yaml\nprint(is_there('yaml'))\nprint(yaml.safe_load('a: 1'))\nprint(is_there('yaml'))"
    assert told(code) == ["not yet", "{'a': 1}", "loaded"]


def test_its_submodules_and_its_version_are_its_own() -> None:
    code = "import yaml.reader, yaml\nprint(yaml.reader.__name__, yaml.__version__ > '5', is_there('yaml'))"
    assert told(code) == ["yaml.reader True loaded"]


def test_whoever_asks_whether_it_is_installed_does_not_load_it() -> None:
    code = (
        "from importlib.util import find_spec\nprint(find_spec('requests').name, is_there('requests'))\n"
        "print([hasattr(module, '__wrapped__') for name, module in list(sys.modules.items()) if name == 'requests'])\n"
        "print(is_there('requests'))"
    )
    assert told(code) == ["requests not yet", "[False]", "not yet"]


def test_a_name_that_is_taken_while_others_are_imported_works_when_it_is_called() -> None:
    code = (
        "from scipy.optimize import linear_sum_assignment\nprint('scipy.optimize._optimize' in sys.modules)\n"
        "print(linear_sum_assignment([[1, 2], [2, 1]])[1].tolist())\n"
        "from scipy.optimize import linear_sum_assignment as real\nprint(real.__module__.startswith('scipy'))"
    )
    assert told(code) == ["False", "[0, 1]", "True"]


def test_what_is_loaded_or_not_installed_stays_so() -> None:
    code = "import importlib, yaml\nyaml.safe_load('1')\nbefore = sys.modules['yaml']\npostpone()\n"
    assert told(f"{code}print(sys.modules['yaml'] is before)") == ["True"]
    code = "from deepscaler.system import seldom\nseldom.SELDOM['no_such_module'] = ()\npostpone()\n"
    assert told(f"{code}print('no_such_module' in sys.modules)") == ["False"]


def test_a_script_runs_as_if_python_had_been_given_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    for given in (str(script), "this"):
        command = python_command("-m", "deepscaler.system.seldom", given, "--flag")
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert ("__main__ ['--flag']" in out) if given != "this" else ("Zen of Python" in out)


def test_verls_trainer_comes_without_vllm_and_pandas_and_the_cpus_router_without_the_trainer() -> None:
    pytest.importorskip("verl")
    code = "import deepscaler.verl_plugin.cpu.router\nprint('verl.trainer.ppo.v1' in sys.modules)\n"
    code += "import verl.trainer.ppo.v1\nprint('vllm' in sys.modules, is_there('pandas'))"
    assert told(code)[-2:] == ["False", "False not yet"]
