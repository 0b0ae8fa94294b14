"""What NCCL is told of a fabric is told in one place; adapters are read as Linux shows them."""

import re
from pathlib import Path
from typing import get_args

import pytest

from deepscaler.doctor import fabric as doctor
from deepscaler.fabric import Fabric, adapters, fabric_variables, main_fabric
from tests.places import ROOT


def add_adapter(system: Path, name: str, link: str, *, state: str = "4: ACTIVE", vendor: str = "0x15b3") -> None:
    """Makes an adapter as the kernel shows one."""
    number = len(list(system.glob("*")))
    port, verbs = system / name / "ports/1", system / name / f"device/infiniband_verbs/uverbs{number}"
    for folder in (port, verbs):
        folder.mkdir(parents=True)
    (port / "link_layer").write_text(f"{link}\n")
    (port / "state").write_text(f"{state}\n")
    (system / name / "device/vendor").write_text(f"{vendor}\n")


@pytest.fixture
def system(tmp_path: Path) -> Path:
    for name in ("system", "devices"):
        (tmp_path / name).mkdir()
    return tmp_path / "system"


def test_a_fabric_that_was_named_is_used_or_nccl_fails() -> None:
    networks = {fabric: fabric_variables(fabric)["NCCL_NET"] for fabric in get_args(Fabric)}
    assert networks == {"ib": "IB", "roce": "IB", "efa": "AWS Libfabric", "none": "Socket"}


def test_what_is_said_of_nccl_is_said_of_the_one_in_the_images() -> None:
    lock = (ROOT / "docker/requirements/eval.txt").read_text()
    assert re.search(r"^nvidia-nccl-cu13==2\.28\.", lock, re.MULTILINE), "read deepscaler/fabric.py again"


def test_adapters_are_told_apart(system: Path) -> None:
    devices = system.parent / "devices"
    add_adapter(system, "mlx5_0", "InfiniBand")
    add_adapter(system, "mlx5_1", "InfiniBand", state="1: DOWN")
    add_adapter(system, "mlx5_bond_0", "Ethernet")
    (devices / "uverbs0").touch()
    found = adapters(system, devices)
    assert [(one.name, one.fabric, one.usable) for one in found] == [
        ("mlx5_0", "ib", True),
        ("mlx5_bond_0", "roce", False),
    ]
    assert main_fabric(found) == "ib", "the Ethernet one is the machine's ordinary network"
    assert main_fabric(found[1:]) == "roce"


def test_amazons_adapters_are_known_by_their_maker(system: Path) -> None:
    add_adapter(system, "rdmap0s6", "Unspecified", vendor="0x1d0f")
    assert main_fabric(adapters(system)) == "efa"


def test_a_machine_without_adapters_has_none(tmp_path: Path) -> None:
    assert adapters(tmp_path / "nowhere") == []
    assert main_fabric([]) is None


def examined(system: Path, monkeypatch: pytest.MonkeyPatch, network: str, *, library: bool = True) -> tuple[bool, str]:
    """Returns doctor's finding on a machine with these adapters, where NCCL_NET is set to a network."""
    monkeypatch.setattr(doctor, "adapters", lambda: adapters(system, system.parent / "devices"))
    monkeypatch.setattr(doctor, "_loads", lambda _: library)
    unlimited = doctor.resource.RLIM_INFINITY
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _: (unlimited, unlimited))
    monkeypatch.setenv("NCCL_NET", network)
    finding = doctor.check_fabric()
    return finding.ok, finding.evidence


def test_doctor_tells_what_keeps_nccl_from_a_fabric(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined(system, monkeypatch, "") == (True, "no RDMA adapter: NCCL would use TCP")
    assert examined(system, monkeypatch, "IB") == (False, "no RDMA adapter: NCCL would use TCP")
    add_adapter(system, "mlx5_0", "InfiniBand")
    hidden = "mlx5_0: NCCL would use TCP (its devices in /dev/infiniband are not here)"
    assert examined(system, monkeypatch, "") == (True, hidden)
    assert examined(system, monkeypatch, "IB") == (False, hidden)
    (system.parent / "devices/uverbs0").touch()
    assert examined(system, monkeypatch, "IB") == (True, "mlx5_0: NCCL would use InfiniBand")
    assert examined(system, monkeypatch, "Socket")[0], "it is told to, and can"
    assert examined(system, monkeypatch, "AWS Libfabric")[0] is False
    ok, detail = examined(system, monkeypatch, "IB", library=False)
    assert (ok, detail) == (False, "mlx5_0: NCCL would use TCP (libibverbs.so.1 does not load)")


def test_libraries_are_really_loaded() -> None:
    assert doctor._loads("libc.so.6")
    assert not doctor._loads("libnccl-net-that-is-nowhere.so")
