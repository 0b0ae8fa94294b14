"""Checks of GPUs, on recorded output of nvidia-smi (recordings/README.md): this machine has none."""

import os
from pathlib import Path

import pytest

from deepscaler.doctor import gpu
from deepscaler.doctor.examine import examine_fast
from deepscaler.doctor.finding import Finding
from deepscaler.doctor.nvidia import read_driver
from deepscaler.doctor.subject import Subject
from deepscaler.recipes.load import load_recipe

RECORDINGS = Path(__file__).with_name("recordings")
A100, USED, A10G, T4 = (
    (RECORDINGS / name).read_text()
    for name in ("a100-mig-535.54.03.xml", "rtx4000-in-use-595.84.xml", "a10g-515.105.01.xml", "t4-515.105.01.xml")
)
NVLINK, PCIE = (RECORDINGS / name for name in ("topo-h20-535.161.08.txt", "topo-pcie-8.txt"))


def found(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    capability: str = "8.0",
    links: Path | None = None,
    recipe: str = "",
) -> dict[str, Finding]:
    """Returns the fast checks' findings on a machine whose nvidia-smi answers as recorded."""
    (folder / "query.xml").write_text(text)
    stand_in = folder / "nvidia-smi"
    stand_in.write_text(
        f'#!/bin/sh\ncase "$1" in\n-q) cat {folder}/query.xml ;;\ntopo) cat {links or "/dev/null"} ;;\n'
        f"*) for _ in $(grep '<gpu ' {folder}/query.xml); do echo {capability}; done ;;\nesac\n"
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(gpu, "torch_cuda", lambda: "12.9")
    monkeypatch.setattr(gpu, "compiled_for", lambda _: {"sm_80", "sm_90"})
    subject = Subject(purpose="train", recipe=load_recipe(recipe) if recipe else None)
    return {finding.name: finding for finding in examine_fast(subject)}


def several(text: str, number: int) -> str:
    """Returns a recording with its one GPU several times."""
    start, end = text.index(" <gpu "), text.index("</nvidia_smi_log>")
    return text[:start] + number * text[start:end] + text[end:]


def test_a_gpu_that_is_cut_into_parts_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    all_found = found(tmp_path, monkeypatch, A100)
    assert all_found["MIG"].status == "fail"
    assert all_found["MIG"].evidence == "GPU 0 cut into parts"
    assert [one.name for one in all_found.values() if one.status == "fail"] == ["MIG"]
    assert all_found["driver"].evidence == "535.54.03 runs CUDA up to 12.2, torch was built for 12.9"
    assert all_found["GPUs"].evidence == "1 x NVIDIA A100-SXM4-80GB"
    assert all_found["ECC"].status == "pass"


def test_memory_in_use_names_the_processes_and_ecc_that_is_off_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_found = found(tmp_path, monkeypatch, USED, "8.9")
    assert all_found["GPU memory"].status == "fail", "the engine takes nine tenths of a GPU's memory"
    assert "GPU 0: 3.7 GB in use by 1842 cosmic-comp (429.9 MB), 3190 code" in all_found["GPU memory"].evidence
    assert all_found["ECC"].status == "warn"
    less = load_recipe("8k", None, ["gpu_memory_utilization=0.6"])
    finding = gpu.check_gpu_memory(Subject(purpose="train", recipe=less))
    assert finding.status == "warn", "what is left suffices for six tenths"


def test_a_training_waits_for_memory_that_is_about_to_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = USED.replace("<used>3534 MiB</used>", "<used>12 MiB</used>")
    assert freed != USED
    monkeypatch.setattr(gpu, "ask_driver", lambda: read_driver(freed))
    monkeypatch.setattr("deepscaler.doctor.subject.ask_driver", lambda: read_driver(USED))
    assert gpu.check_gpu_memory(Subject(purpose="train")).status == "fail"
    assert gpu.check_gpu_memory(Subject(purpose="train", starts_training=True)).status == "pass"


def test_a_driver_that_is_too_old_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(tmp_path, monkeypatch, A10G, "8.6")["driver"].status == "fail"


def test_a_gpu_without_code_for_it_fails_and_a_later_member_of_its_generation_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = found(tmp_path, monkeypatch, T4, "7.5")["compute capability"]
    assert (lacking.status, lacking.evidence) == (
        "fail",
        "torch has no code for Tesla T4 (7.5); vllm has no code for Tesla T4 (7.5)",
    )
    assert found(tmp_path, monkeypatch, A10G, "8.6")["compute capability"].status == "pass"


@pytest.mark.parametrize(
    ("field", "check", "status", "evidence"),
    [
        ("<dram_uncorrectable>{}<", "ECC", "fail", "GPU 0: 3 uncorrected errors since the driver was loaded"),
        ("<remapped_row_failure>{}<", "ECC", "fail", "GPU 0: a row of its memory could not be remapped"),
        ("<clocks_throttle_reason_hw_thermal_slowdown>{}<", "throttling", "warn", "GPU 0: hw_thermal_slowdown"),
        ("<clocks_throttle_reason_sw_power_cap>{}<", "throttling", "pass", "clocks are not lowered"),
    ],
)
def test_one_changed_value_of_a_recording_is_seen(
    field: str, check: str, status: str, evidence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = {"ECC": ("0", "3"), "throttling": ("Not Active", "Active")}[check]
    if "remapped" in field:
        before, after = "No", "Yes"
    text = A10G.replace(field.format(before), field.format(after), 1)
    assert text != A10G
    finding = found(tmp_path, monkeypatch, text, "8.6")[check]
    assert (finding.status, finding.evidence) == (status, evidence)


def test_links_are_read_from_the_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eight = several(A10G, 8)
    good = found(tmp_path, monkeypatch, eight, "8.6", NVLINK)["NVLink"]
    assert (good.status, good.evidence) == ("pass", "NV18 between all 8 GPUs")
    without = found(tmp_path, monkeypatch, eight, "8.6", PCIE)["NVLink"]
    assert without.status == "warn"
    assert without.evidence == "none between GPUs 0-1 SYS, 0-2 SYS, 0-3 SYS, 0-4 SYS and 24 more"
    uneven = tmp_path / "uneven.txt"  # one link of the recording lost half of its lanes
    uneven.write_text(NVLINK.read_text().replace("NV18", "NV9", 1))
    assert found(tmp_path, monkeypatch, eight, "8.6", uneven)["NVLink"].evidence == "uneven: NV18, NV9"


@pytest.mark.parametrize(
    ("variables", "status"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, "pass"),
        ({"CUDA_VISIBLE_DEVICES": "0,7"}, "fail"),
        ({"CUDA_VISIBLE_DEVICES": "0,0"}, "fail"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "fail"),
        ({"CUDA_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": "1"}, "warn"),
        ({"CUDA_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": "0"}, "pass"),
        ({"CUDA_VISIBLE_DEVICES": "", "RAY_ADDRESS": "10.0.0.1:6379"}, "warn"),
    ],
)
def test_variables_that_hide_gpus_or_contradict_each_other(
    variables: dict[str, str], status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "none").mkdir()
    monkeypatch.setattr("deepscaler.doctor.subject.ask_driver", lambda: read_driver(several(A10G, 2)))
    finding = gpu.check_visibility(Subject(purpose="train"))
    assert finding.status == status, finding


def test_fewer_gpus_than_the_recipe_wants_end_a_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(tmp_path, monkeypatch, A10G, "8.6", recipe="8k")["GPUs"].status == "warn"
    subject = Subject(purpose="train", recipe=load_recipe("8k"), starts_training=True)
    finding = gpu.check_gpus(subject)
    assert finding.status == "fail"
    assert finding.evidence == "1 x NVIDIA A10G; the recipe wants 8"
    assert "--set gpus_per_node=N" in finding.fix


def test_a_tool_that_hangs_is_waited_for_seconds_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("deepscaler.doctor.nvidia.SECONDS", 0.3)
    assert Subject(purpose="train").driver is None
