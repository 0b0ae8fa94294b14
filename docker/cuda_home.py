"""A folder that compilers take for a CUDA toolkit, from NVIDIA's wheels: `python cuda_home.py /usr/local/cuda`.

The wheels of CUDA 13 share one folder, site-packages/nvidia/cu13, with bin, include, lib and nvvm; but they have
libraries under their versioned names only, and no lib64.
"""

import sys
from pathlib import Path
from sysconfig import get_path


def main() -> None:
    """Link the folder, and each library under the name that linkers look for."""
    toolkit = Path(get_path("purelib"), "nvidia", "cu13")
    for library in (toolkit / "lib").glob("*.so.*"):
        plain = library.with_name(library.name.partition(".so")[0] + ".so")
        if not plain.exists():
            plain.symlink_to(library.name)
    if not (toolkit / "lib64").exists():
        (toolkit / "lib64").symlink_to("lib")
    for tool in (toolkit / "bin").iterdir():
        tool.chmod(0o755)
    Path(sys.argv[1]).symlink_to(toolkit)


if __name__ == "__main__":
    main()
