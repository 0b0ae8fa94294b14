from dataclasses import fields
from pathlib import Path

import pytest

from deepscaler.system.errors import UserError
from slurm.site import LONGEST_SCRATCH, Site, load_site, minutes
from tests.places import ROOT

SITES = sorted((ROOT / "slurm/sites").glob("*.toml"))


@pytest.mark.parametrize("file", SITES, ids=lambda path: path.stem)
def test_every_committed_site_loads(file: Path) -> None:
    load_site(file)


def test_the_example_tells_every_option_and_its_default() -> None:
    example = next(file for file in SITES if file.stem == "example")
    assert load_site(example) == Site()
    text = example.read_text()
    missing = [
        option.name for option in fields(Site) if f"\n{option.name} = " not in text and f"[{option.name}]" not in text
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('partitoin = "gpu"', "did you mean 'partition'"),
        ("exclusive = 1", "expected true or false"),
        ('gpus = "some"', "expected one of gpus-per-node, gres, none"),
        ('time_limit = "soon"', "expected D-HH:MM:SS"),
        pytest.param(
            f'time_limit = "{"1" * 5000}"', "(5002 characters) for time_limit: expected D-HH:MM:SS", id="digits"
        ),
        ('runtime = "pyxis"', "image is missing: runtime pyxis needs an image"),
        ('environment = {RAY_ADDRESS = "x"}', "the launcher sets RAY_ADDRESS itself"),
        ('environment = {HF_TOKEN = "x"}', "a site file must not hold secrets"),
        ("environment = {A = 1}", "expected a table of texts"),
        ("join_minutes = 0", "invalid value 0.0 for join_minutes: expected a number above 0"),
        ('scratch = "relative"', "invalid value 'relative' for scratch: expected an absolute path"),
        ("mounts = 'x", "cannot be read"),
        ('environment = {A-B = "1"}', "environment.A-B: a variable's name has letters, digits and _ only"),
        ('sbatch = {time = "5"}', "the launcher sets --time itself"),
        ('time_limit = "3"', "expected at most half of the time_limit 3"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "site.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"site\.toml") as raised:
        load_site(file)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [("90", 90), ("90:00", 90), ("1:30:00", 90), ("1-00:00:00", 1440), ("2-12", 3600), ("1-02:30", 1590)],
)
def test_time_limits_are_read_as_slurm_reads_them(limit: str, wanted: int) -> None:
    assert minutes(limit) == wanted


def test_variables_in_scratch_and_cache_are_those_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    site = Site(scratch="/scratch/$USER", cache="/work/${USER}/cache")
    assert (site.scratch_dir, site.cache_dir) == ("/scratch/ada", "/work/ada/cache")
    assert Site(scratch="$TMPDIR").scratch_dir == "", "it is another folder on the nodes"
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert Site(scratch="/local/$SLURM_JOB_ID").scratch_dir == "", "nodes alone have it"


def test_a_variable_that_is_not_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WROK", raising=False)
    with pytest.raises(UserError, match=r"'\$WROK/cache' for cache: the variable \$WROK is not set here; set it"):
        Site(cache="$WROK/cache").kit_cache  # noqa: B018


def test_scratch_is_short_enough_for_rays_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.utils import validate_socket_filepath  # noqa: PLC0415  an optional package

    longest = "/" + "x" * (LONGEST_SCRATCH - 1)
    session = "session_2026-11-27_21-03-22_123456_4194304/sockets/plasma_store"
    validate_socket_filepath(f"{Site(scratch=longest).scratch_dir}/dsr-12345678-12/{session}")
    monkeypatch.setenv("USER", "x" * 30)
    for scratch in (longest + "x", "/scratch/$USER"):
        with pytest.raises(UserError, match=f"of at most {LONGEST_SCRATCH} bytes, for Ray's sockets are below it"):
            Site(scratch=scratch)
