import json
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
    site = Site(scratch="/scratch/$USER", cache="/projects/${USER}/cache")
    assert (site.scratch_dir, site.cache_dir) == ("/scratch/ada", "/projects/ada/cache")
    for scratch in ("$TMPDIR", "/local/$SLURM_JOB_ID", "$SLURM_TMPDIR/x"):
        for name in ("TMPDIR", "SLURM_JOB_ID", "SLURM_TMPDIR"):
            monkeypatch.delenv(name, raising=False)
        assert Site(scratch=scratch).scratch_dir == "", "nodes alone have it"
        for name in ("TMPDIR", "SLURM_JOB_ID", "SLURM_TMPDIR"):
            monkeypatch.setenv(name, "/here")
        assert Site(scratch=scratch).scratch_dir == "", "it is another one on the nodes"
    monkeypatch.delenv("USER")
    assert Site(scratch="/scratch/$USER").scratch_dir == "", "cron sets none, and nodes have one"


def test_a_variable_in_scratch_that_nobody_sets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    for scratch in ("/s/$NOPE", "$NOPE", "/s/$USER/${NOPE}"):
        with pytest.raises(UserError, match=r"for scratch: the variable \$NOPE is not set here, and nodes set TMPDIR"):
            Site(scratch=scratch)
    for scratch in ("/s/${USER:-x}", "/s/$(whoami)"):
        with pytest.raises(UserError, match=r"for scratch: of shell syntax only \$NAME"):
            Site(scratch=scratch)
    assert Site(scratch="/s/$NOPE", setup=("export NOPE",)).scratch_dir == ""
    assert Site(scratch="/s/$NOPE", environment={"NOPE": "x"}).scratch_dir == ""


@pytest.mark.parametrize(
    ("cache", "reason"),
    [
        ("rel/c", "'rel/c' for cache: expected an absolute path; ~ and $NAME may begin it"),
        ("$REL/c", "'$REL/c', which is 'rel/c', for cache: expected an absolute path"),
        ("$EMPTY", "'$EMPTY', which is '', for cache: expected an absolute path"),
        ("$WROK/cache", "'$WROK/cache' for cache: the variable $WROK is not set; set it, or give the full path"),
        ("/c/${WROK}", "the variable $WROK is not set"),
        ("~nobodyx/c", "'~nobodyx/c' for cache: there is no user nobodyx here; give the full path"),
        ("/c/${USER:-x}", "'/c/${USER:-x}' for cache: of shell syntax only $NAME, ${NAME} and ~ are expanded; give"),
        ("/c/$(whoami)", "of shell syntax only $NAME"),
        ("/c/`whoami`", "of shell syntax only $NAME"),
        ("/c/${USER", "of shell syntax only $NAME"),
        ("/c/$", "of shell syntax only $NAME"),
        ("/c/$1", "the variable $1 is not set"),
    ],
)
def test_a_cache_that_is_no_path_here_is_refused_in_one_line(
    cache: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WROK", raising=False)
    monkeypatch.setenv("REL", "rel")
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "site.toml").write_text(f"cache = {json.dumps(cache)}\n")
    with pytest.raises(UserError) as raised:
        load_site(tmp_path / "site.toml")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_path_may_begin_with_home_and_a_variables_value_may_hold_any_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", "/a$b/`c`")
    assert Site(cache="$ODD/c").cache_dir == "/a$b/`c`/c"
    assert Site(cache="~/c").cache_dir == str(Path.home() / "c")


def test_scratch_is_short_enough_for_rays_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.utils import validate_socket_filepath  # noqa: PLC0415  an optional package

    longest = "/" + "x" * (LONGEST_SCRATCH - 1)
    session = "session_2026-11-27_21-03-22_123456_4194304/sockets/plasma_store"
    validate_socket_filepath(f"{Site(scratch=longest).scratch_dir}/dsr-12345678-12/{session}")
    monkeypatch.setenv("USER", "x" * 30)
    for scratch in (longest + "x", "/scratch/$USER"):
        with pytest.raises(UserError, match=f"of at most {LONGEST_SCRATCH} bytes, for Ray's sockets are below it"):
            Site(scratch=scratch)
