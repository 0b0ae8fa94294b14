"""Finds the class that a site file's `runtime` names, maybe outside the kit: whatever is wrong with it is one line.

>>> start_of(make_runtime("bare", image="", mounts=(), python="python3"), Task(target="cpu", folders=("/run",)))
Start(python="python3")
"""

import importlib
import importlib.util
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from deepscaler.system.errors import UserError, unknown
from deepscaler.system.paths import expanded
from slurm.runtimes import RUNTIMES, Runtime, Start, Task


def runtime_class(name: str) -> type[Runtime]:
    """Returns the class that a site file names: bare, my_runtime:Podman, /sites/my_runtime.py:Podman.

    Raises UserError that says what was given and what is allowed.
    """
    if name in RUNTIMES:
        return RUNTIMES[name]
    module, colon, attribute = name.rpartition(":")
    if not (colon and module and attribute):
        raise unknown("runtime", name, [*RUNTIMES, "MODULE:CLASS"])
    found = getattr(_module(module), attribute, None)
    if not (isinstance(found, type) and issubclass(found, Runtime)):
        raise UserError(f"runtime {name!r}: {module} has no class {attribute} that derives from slurm.runtimes.Runtime")
    if missing := sorted(found.__abstractmethods__):
        raise UserError(f"runtime {name!r}: the class lacks {', '.join(missing)}; see slurm.runtimes.Runtime")
    return found


@cache
def make_runtime(name: str, *, image: str, mounts: tuple[str, ...], python: str) -> Runtime:
    """Returns the runtime that a site file names. Raises UserError if its class cannot be made of these fields.

    It is made once: a batch script asks for it a dozen times, and a class from outside may take its time.
    """
    found = runtime_class(name)
    try:
        return found(image=image, mounts=mounts, python=python)
    # A dataclass without a default for a field of its own raises TypeError, a __post_init__ raises what it
    # likes.
    except Exception as error:
        raise UserError(
            f"runtime {name!r}: {found.__name__}(image=..., mounts=..., python=...) fails ({_told(error)});"
            " a field of its own needs a default, and an __init__ must take these three"
        ) from error


def start_of(runtime: Runtime, task: Task) -> Start:
    """Returns how a runtime starts a task. Raises UserError if a class from outside returns something else."""
    start = _call(runtime, "start", task)
    if not (isinstance(start, Start) and isinstance(start.python, str) and _are_texts(start.srun_arguments)):
        raise _wrong(runtime, "start", start, "a slurm.runtimes.Start of texts")
    return start


def environment_of(runtime: Runtime, variables: dict[str, str]) -> dict[str, str]:
    """Returns what a runtime has the batch script export. Raises UserError for anything but texts by name."""
    exported = _call(runtime, "environment", variables)
    if not (isinstance(exported, dict) and all(isinstance(text, str) for pair in exported.items() for text in pair)):
        raise _wrong(runtime, "environment", exported, "a dict of texts by the names of variables")
    return exported


def check_runtime(runtime: Runtime, targets: Collection[str], models: Collection[str]) -> None:
    """Has a runtime check what tasks with these images and models would lack. Raises UserError."""
    _call(runtime, "check", targets, models)


def _call(runtime: Runtime, method: str, *arguments: Any) -> Any:
    """Calls a method of a class that may come from outside; whatever it raises is one line."""
    try:
        return getattr(runtime, method)(*arguments)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(
            f"runtime class {type(runtime).__name__}: {method} fails ({_told(error)}); it may raise UserError for what"
            " is missing, and nothing else; see slurm.runtimes.Runtime"
        ) from error


def _are_texts(found: object) -> bool:
    return isinstance(found, tuple | list) and all(isinstance(text, str) for text in found)


def _wrong(runtime: Runtime, method: str, found: object, expected: str) -> UserError:
    return UserError(
        f"runtime class {type(runtime).__name__}: {method} returns {repr(found)[:80]}, expected {expected};"
        " see slurm.runtimes.Runtime"
    )


def _told(error: BaseException) -> str:
    """Returns an error on one line, without the number that Python puts before a system's reason."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def beside(file: Path, name: str) -> str:
    """Returns a runtime's name with the path of its module, if that is beside the site file that gives the name.

    A path, such as sub/my_runtime.py, counts from the site file's folder. Raises UserError as `expanded` does.

    The folder does not get on sys.path: one that holds a `slurm` or `deepscaler` folder would hide the kit.
    """
    module, colon, attribute = name.rpartition(":")
    # The / operator of pathlib drops its left side if the right one is absolute: both kinds of path are one
    # line.
    if colon and module.endswith(".py"):
        return f"{file.absolute().parent / expanded(module, 'runtime')}:{attribute}"
    path = file.absolute().parent / f"{module}.py"
    return f"{path}:{attribute}" if colon and module.isidentifier() and path.is_file() else name


@cache
def _module(name: str) -> ModuleType:
    """Imports a module by its path or its name. Raises UserError for whatever goes wrong in it."""
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        # A prefix, so that a user's apptainer.py or json.py hides no module that is installed.
        own_name = f"_runtime_{Path(name).stem}"
        spec = importlib.util.spec_from_file_location(own_name, name)
        assert spec is not None, "a name that ends in .py has a loader"
        assert spec.loader is not None, "a name that ends in .py has a loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules[own_name] = module  # dataclasses look their module up there
        spec.loader.exec_module(module)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # a module from outside may end in any way
        raise UserError(
            f"runtime module {name!r} cannot be loaded ({_told(error)}); it must be beside the site file"
            " or be installed"
        ) from error
    return module
