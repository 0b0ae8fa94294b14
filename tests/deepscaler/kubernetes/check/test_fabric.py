"""Components say of a fabric what deepscaler.fabric says, and the check finds a pod that says half of it."""

import copy
from typing import Any

import pytest
import yaml

from deepscaler.fabric import Fabric, fabric_variables, socket_variables
from tests.deepscaler.kubernetes.check.test_check import CONTAINER, K8S, TRAIN, findings

COMPONENTS: dict[str, Fabric] = {"rdma": "ib", "roce": "roce", "efa": "efa", "tcp": "none"}
RDMA, EFA = "rdma/hca_shared_devices_a", "vpc.amazonaws.com/efa"


@pytest.mark.parametrize(("component", "fabric"), COMPONENTS.items())
def test_a_component_sets_what_the_fabric_needs(component: str, fabric: Fabric) -> None:
    [patch] = yaml.safe_load((K8S / f"components/{component}/kustomization.yaml").read_text())["patches"]
    steps = yaml.safe_load(patch["patch"])
    added = {step["value"]["name"]: step["value"]["value"] for step in steps if step["path"].endswith("/env/-")}
    assert added == fabric_variables(fabric) | socket_variables("eth0")
    of_preflight = [step["value"] for step in steps if step["path"].endswith("initContainers/0/env")]
    network = {"name": "NCCL_NET", "value": fabric_variables(fabric)["NCCL_NET"]}
    assert of_preflight == ([] if fabric == "none" else [[network]])


def pod(device: str = "", network: str | None = None) -> dict[str, Any]:
    """Returns train-16k whose workers ask for a device and have a value of NCCL_NET."""
    tree: Any = copy.deepcopy(TRAIN)
    container = tree
    for key in CONTAINER:
        container = container[key]
    if device:
        for kind in ("requests", "limits"):
            container["resources"][kind][device] = "1"
    if network is not None:
        container["env"].append({"name": "NCCL_NET", "value": network})
    return dict(tree)


@pytest.mark.parametrize(
    ("device", "network", "told"),
    [
        ("", None, None),
        ("", "Socket", None),
        (RDMA, "IB", None),
        (EFA, "aws libfabric", None),
        ("example.com/adapter", "IB", None),
        (RDMA, None, "rdma/hca_shared_devices_a is asked for, and NCCL is not told to use it; set NCCL_NET to 'IB'"),
        (EFA, None, "vpc.amazonaws.com/efa is asked for, and NCCL is not told to use it; set NCCL_NET to 'AWS Lib"),
        (EFA, "IB", "NCCL_NET is 'IB', and vpc.amazonaws.com/efa is asked for; set it to 'AWS Libfabric'"),
        (RDMA, "Socket", "NCCL_NET is 'Socket', and rdma/hca_shared_devices_a is asked for"),
        ("", "IB", "NCCL_NET is 'IB', and no device of a fabric is asked for"),
    ],
)
def test_a_device_and_what_nccl_is_told_belong_together(device: str, network: str | None, told: str | None) -> None:
    found = findings(pod(device, network))
    assert found == [] if told is None else any(told in line for line in found), found
