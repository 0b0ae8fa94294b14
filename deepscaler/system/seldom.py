"""Postpones imports that large packages make and seldom use, which take a third of the start of Ray's processes.

`python -m deepscaler.system.seldom SCRIPT_OR_MODULE ARGUMENTS` runs a program that way. The kit's own processes call
`postpone`, and so do Ray's workers, where it is the `worker_process_setup_hook`.
"""

import importlib
import runpy
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

SELDOM: dict[str, tuple[str, ...]] = {
    "boto3": (),  # accelerate, for SageMaker
    "datasets": ("Dataset",),  # every process of verl; one of them reads data. It brings pandas along
    "jsonschema": (),  # Ray, for plug-ins of runtime environments
    "pandas": (),  # verl, for data sets of reward models and of fine-tuning
    "networkx": ("DiGraph",),  # torch, to draw graphs and to partition them
    "requests": (),  # Ray, for TPUs
    "scipy.optimize": ("linear_sum_assignment",),  # transformers, for losses of object detection
    "scipy.signal": (),  # vLLM, for audio
    "yaml": (),  # Ray, for Conda
}
"""Modules, with the names that others take from them at import: an annotation, or a function to call later."""

UNUSED = ("verl.checkpoint_engine.hccl_checkpoint_engine",)
"""Optional modules that are refused, as if a package were missing: verl's for Ascend imports vLLM in every process."""

ASKED_OF_ANY = ("__path__", "__version__", "__all__")
"""Special names that justify an import; code that walks through all modules asks each of them for other ones."""


class _ImportedWhenUsed(ModuleType):
    """Stands in for a module until one of its names is used; importlib's LazyLoader would load it at import."""

    def __init__(self, name: str, spec: Any, taken: tuple[str, ...]) -> None:
        super().__init__(name)
        self.__spec__, self.__file__, self._taken = spec, spec.origin, taken

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and sys._getframe(1).f_code.co_name != "_find_and_load_unlocked":
            return self.__spec__ and self.__spec__.submodule_search_locations  # `from it import a name`: no submodule
        if name.startswith("__") and name not in ASKED_OF_ANY:
            raise AttributeError(name)
        if name in self._taken and sys.modules.get(self.__name__) is self:
            return self._called_later(name)
        return getattr(self._real(), name)

    def _called_later(self, name: str) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            return getattr(self._real(), name)(*given, **named)

        return called

    def _real(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)


def postpone() -> None:
    """Postpones the import of these modules until they are used, if ever; modules already imported stay."""
    for name, taken in SELDOM.items():
        if name not in sys.modules and (spec := _spec(name)):
            sys.modules[name] = _ImportedWhenUsed(name, spec, taken)
    for name in UNUSED:
        sys.modules.setdefault(name, cast("ModuleType", None))  # an import raises ModuleNotFoundError


def _spec(name: str) -> Any:
    try:
        return find_spec(name)
    except ModuleNotFoundError:  # the package around it is missing
        return None


def main() -> None:
    """Runs the script or module as Python itself would."""
    postpone()
    del sys.argv[0]
    if sys.argv[0].endswith(".py"):
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
