"""A runtime is one class, and a site file may name one from outside."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.system.errors import UserError
from slurm.discover import discover
from slurm.runtimes import RUNTIMES, Task
from slurm.site import Site, load_site
from slurm.submit.preflight import check_before
from slurm.submit.script import environment
from tests.places import ROOT
from tests.slurm.conftest import Fake
from tests.slurm.submit.test_script import submission

SITE = 'runtime = "my_runtime:Podman"\nimage = "registry/deepscaler:{target}"\nscratch = "/local"\n'
SITE += 'cache = "/shared/cache"\nmounts = ["/data"]\n'


def readme_example() -> str:
    """Returns the runtime that docs/slurm.md shows, as a newcomer copies it."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs/slurm.md").read_text(), re.DOTALL)
    assert block
    return block[1]


def write_site(folder: Path, module: str, site: str = SITE) -> Path:
    (folder / "my_runtime.py").write_text(module)
    file = folder / "site.toml"
    file.write_text(site)
    return file


def test_the_readmes_runtime_starts_every_task_of_a_batch_script(fake: Fake, tmp_path: Path) -> None:
    fake()
    example = readme_example()
    assert len(example.splitlines()) <= 20
    site = load_site(write_site(tmp_path, example))
    plain = submission("8k", replace(site, runtime="bare")).script()
    names = [*environment(site), "DEEPSCALER_JOB_END"]
    command = "podman run --rm --network=host --ipc=host --env-host " + " ".join(f"--env={name}" for name in names)
    command += " --volume=/runs/8k:/runs/8k --volume=/local:/local --volume=/shared/cache:/shared/cache"
    command += " --volume=/data:/data --device=nvidia.com/gpu=all --workdir=/runs/8k registry/deepscaler:train python3"
    assert plain.count(f" {sys.executable} -u -m ") == 1
    assert submission("8k", site).script() == plain.replace(f" {sys.executable} -u ", f" {command} -u ")


def test_an_installed_module_serves_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed/site_tools_of_ours.py").write_text(readme_example())
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    site = load_site(write_site(tmp_path, "", SITE.replace("my_runtime", "site_tools_of_ours")))
    assert type(site.runs_in).__module__ == "site_tools_of_ours"


def test_the_module_beside_a_site_file_belongs_to_that_file(tmp_path: Path) -> None:
    for name, binary in (("a", "podman"), ("b", "docker")):
        (tmp_path / name).mkdir()
        file = write_site(tmp_path / name, readme_example().replace('["podman"', f'["{binary}"'))
        assert load_site(file).runs_in.start(Task(target="cpu", folders=("/run",))).python.startswith(f"{binary} run")
    assert str(tmp_path / "a") not in sys.path


OWN = "from dataclasses import dataclass\nfrom slurm.runtimes import Runtime, Start\n"
OWN += "@dataclass(frozen=True, kw_only=True)\nclass X(Runtime):\n    def start(self, task): return Start(python='p')\n"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("def start(self, task): return 'podman'", "class X: start returns 'podman', expected a slurm.runtimes.Start"),
        ("def start(self, task): return Start(python=7)", "class X: start returns Start(python=7"),
        ("def start(self, task): raise OSError(2, 'gone')", "class X: start fails (FileNotFoundError: gone)"),
        ("def start(self, task): 1/0", "class X: start fails (ZeroDivisionError: division by zero); it may raise"),
        ("def environment(self, variables): pass", "class X: environment returns None, expected a dict of texts"),
        ("def environment(self, variables): return {'A': 1}", "class X: environment returns {'A': 1}, expected"),
    ],
)
def test_what_a_runtime_answers_is_checked(tmp_path: Path, method: str, message: str) -> None:
    site = load_site(write_site(tmp_path, OWN + f"    {method}\n", 'runtime = "my_runtime:X"\n'))
    with pytest.raises(UserError) as raised:
        submission("8k", site).script()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_modules_path_counts_from_the_site_files_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/my_runtime.py").write_text(OWN)
    file = write_site(tmp_path, "", 'runtime = "sub/my_runtime.py:X"\n')
    assert type(load_site(file).runs_in).__name__ == "X"


@pytest.mark.parametrize(
    ("runtime", "module", "message"),
    [
        ("apptanier", "", "unknown runtime 'apptanier' (did you mean 'apptainer'?); valid: MODULE:CLASS, apptainer"),
        ("my_runtime:Pod", "x = 1", "my_runtime.py has no class Pod that derives from slurm.runtimes.Runtime"),
        ("my_runtime:Path", "from pathlib import Path", "has no class Path that derives from"),
        ("my_runtime:X", "from slurm.runtimes import Runtime\nclass X(Runtime): pass", "the class lacks start"),
        ("my_runtime:X", "1/0", "my_runtime.py' cannot be loaded (ZeroDivisionError: division by zero)"),
        ("my_runtime:X", "def", "cannot be loaded (SyntaxError: "),
        ("my_runtime:X", "import sys\nsys.exit(3)", "cannot be loaded (SystemExit: 3)"),
        ("my_runtime:X", "raise KeyboardInterrupt", "cannot be loaded (KeyboardInterrupt)"),
        (
            "sub/my_runtime.py:X",
            "",
            "sub/my_runtime.py' cannot be loaded (FileNotFoundError: No such file or directory)",
        ),
        ("my_runtime:X", OWN + "    volume: str", "X(image=..., mounts=..., python=...) fails (TypeError: "),
        ("my_runtime:X", OWN + "    def __init__(self): pass", "a field of its own needs a default, and an __init__"),
        ("no_such_module:X", "", "cannot be loaded (ModuleNotFoundError: No module named 'no_such_module'); it must"),
    ],
)
def test_a_runtime_that_cannot_be_used_is_one_line(tmp_path: Path, runtime: str, module: str, message: str) -> None:
    file = write_site(tmp_path, module, f'runtime = "{runtime}"\nimage = "x"\n')
    with pytest.raises(UserError, match=r"site\.toml: ") as raised:
        load_site(file)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_container_of_ones_own_needs_an_image_and_its_checks_come_before_submitting(tmp_path: Path) -> None:
    file = write_site(tmp_path, readme_example(), 'runtime = "my_runtime:Podman"\n')
    with pytest.raises(UserError, match="image is missing: runtime"):
        load_site(file)
    check = "\n    def check(self, targets, models):\n        raise ValueError(f'{targets} {models}')\n"
    (tmp_path / "own").mkdir()
    site = load_site(write_site(tmp_path / "own", readme_example() + check))
    with pytest.raises(UserError, match=re.escape("check fails (ValueError: ['train'] ['agentica-org/start'])")):
        check_before(
            [replace(submission("8k", site).job, model="agentica-org/start")],
            replace(site, cache=str(tmp_path)),
            tmp_path,
        )


@pytest.mark.parametrize(("name", "programs"), [("pyxis", ("srun", "apptainer")), ("apptainer", ("apptainer",))])
def test_a_first_site_file_names_the_runtime_that_is_there(
    fake: Fake, tmp_path: Path, name: str, programs: tuple[str, ...]
) -> None:
    srun = "--container-image=[USER@][REGISTRY#]IMAGE" if "srun" in programs else ""
    fake(sinfo="gpu*|1-00:00:00|4|gpu:8|up", srun=srun, apptainer="")
    discover(tmp_path / "site.toml")
    site = load_site(tmp_path / "site.toml")
    assert (site.runtime, site.image) == (name, RUNTIMES[name].example_image)


def test_a_folder_that_cannot_be_mounted_is_refused() -> None:
    site = Site(runtime="apptainer", image="x", mounts=("/a,b",))
    with pytest.raises(UserError, match="'/a,b'"):
        site.runs_in.start(Task(target="cpu", folders=("/run",)))


@pytest.mark.parametrize("runtime", ["apptainer", "pyxis"])
def test_variables_and_home_in_image_and_mounts_are_those_of_the_user(
    runtime: str, tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    monkeypatch.setenv("WORK", str(tmp_path / "lab"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    site = Site(runtime=runtime, image="$WORK/k-{target}.sif", mounts=("$WORK:/w", "~/data", "${WORK}/x:/x"))
    script = submission("8k", site).script()
    assert not re.search(r"\$\{?WORK|~", script.partition("# command")[2])
    assert re.search(rf"[ =]{tmp_path}/lab/k-train\.sif[ \n]", script), "the file that the check looks for"
    for mount in (f"{tmp_path}/lab:/w", f"{tmp_path}/home/data:{tmp_path}/home/data", f"{tmp_path}/lab/x:/x"):
        assert re.search(rf"[ ,=]{mount}[ ,]", script)
    with pytest.raises(UserError, match=rf"^image {tmp_path}/lab/k-train\.sif is not there"):
        site.runs_in.check(["train"], [])


def test_a_runtime_of_ones_own_is_given_expanded_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORK", str(tmp_path))
    (tmp_path / "own").mkdir()
    (tmp_path / "own/my_runtime.py").write_text(OWN)
    text = 'runtime = "$WORK/own/my_runtime.py:X"\nimage = "~/i"\npython = "$WORK/bin/python"\n'
    runtime = load_site(write_site(tmp_path, "", text)).runs_in
    assert (runtime.image, runtime.python) == (str(Path.home() / "i"), f"{tmp_path}/bin/python")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('image = "$WROK/k.sif"', "invalid value '$WROK/k.sif' for image: the variable $WROK is not set; set it"),
        ('mounts = ["/a", "${WROK}:/w"]', "invalid value '${WROK}' for mounts: the variable $WROK is not set"),
        ('mounts = ["/a:$WROK/w"]', "invalid value '$WROK/w' for mounts: the variable $WROK is not set"),
        ('mounts = ["data"]', "invalid value 'data' for mounts: expected SOURCE or SOURCE:TARGET, both of them absol"),
        ('mounts = ["/a:b"]', "invalid value '/a:b' for mounts: expected SOURCE or SOURCE:TARGET, both of them absol"),
        ('mounts = ["/a:/b:/c"]', "invalid value '/a:/b:/c' for mounts: expected SOURCE or SOURCE:TARGET"),
        ('mounts = ["~nobodyx/c"]', "invalid value '~nobodyx/c' for mounts: there is no user nobodyx here"),
        ('image = "/i/$(whoami).sif"', "for image: of shell syntax only $NAME, ${NAME} and ~ are expanded"),
        ('image = "./k.sif"', "invalid value './k.sif' for image: expected an absolute path, or a registry's image"),
        ('python = "$WROK/bin/python"', "for python: the variable $WROK is not set"),
        ('python = "venv/bin/python"', "for python: expected an absolute path, or the name of a program"),
        ('runtime = "$WROK/x.py:X"', "invalid value '$WROK/x.py' for runtime: the variable $WROK is not set"),
        ('runtime = "~nobodyx/x.py:X"', "invalid value '~nobodyx/x.py' for runtime: there is no user nobodyx here"),
    ],
)
def test_a_path_that_nodes_would_not_find_is_refused(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WROK", raising=False)
    with pytest.raises(UserError, match=r"site\.toml: ") as raised:
        load_site(write_site(tmp_path, "", text + "\n"))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
