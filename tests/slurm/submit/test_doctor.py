"""`deepscaler doctor --on slurm --exclude-slow` loses nothing where others were faster to take the idle nodes."""

import json
from pathlib import Path

import pytest

from deepscaler.doctor.finding import Finding
from deepscaler.job import Job
from deepscaler.launch.launcher import Examination
from deepscaler.output.terminal import PlainConsole
from deepscaler.system.errors import UserError
from slurm.job_folder import JobAttempt, JobFolder
from slurm.site import Site
from slurm.submit import doctor
from tests.slurm.conftest import Fake


def test_the_findings_before_a_second_examination_that_never_began_are_printed(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The jobs themselves run on a SLURM in tests/integration/slurm/test_doctor.py."""
    fake(sinfo="n3\n", scontrol="")
    attempt = JobFolder(tmp_path / "job").attempt(0)
    attempt.root.mkdir(parents=True)
    for node, other, status in (("n1", "n2", "pass"), ("n2", "n1", "fail")):
        finding = Finding("driver", status, "535").to_json()  # type: ignore[arg-type]
        others = {
            "reach": {other: {"error": "", "skew": 0.0}},
            "traffic": [],
            "link": 0,
            "saw": ["n1", "n2"],
            "versions": {},
            "alike": {},
        }
        (attempt.root / f"{node}.log").write_text(json.dumps({"node": node, "findings": [finding], **others}))
    excluded: list[str] = []

    def examined(_: Examination, site: Site, *__: object) -> tuple[list[str], JobAttempt]:
        excluded.append(site.exclude)
        if len(excluded) > 1:
            raise UserError("job 8 is PENDING (Resources) after 30 minutes: cancelled")
        return ["n1", "n2"], attempt

    monkeypatch.setattr(doctor, "_examine", examined)
    job = Job(name="doctor", arguments=("doctor",), num_nodes=2, gpus_per_node=0, image="cpu")
    asked = Examination(job=job, as_json=True, exclude_slow=True)
    assert doctor.examine_nodes(asked, Site(), tmp_path, PlainConsole()) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["leave_out"] == ["n2"]
    assert output.err == (
        "No spare node was examined in the place of n2: job 8 is PENDING (Resources) after 30 minutes: cancelled\n"
    )
    assert excluded == ["", "n2"]
