"""verl's timers tell the phase, and the sampler what is finished in it."""

import warnings
from collections.abc import Iterator

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from verl.trainer.ppo.v1 import trainer_base, trainer_colocate_async, trainer_separate_async, trainer_sync

from deepscaler.verl_plugin import phases

MODULES = (trainer_base, trainer_sync, trainer_colocate_async, trainer_separate_async)


@pytest.fixture
def followed() -> Iterator[phases.Phases]:
    """The phases of a trainer that has resumed at step 40; verl's timers are as before afterwards."""
    timers = [module.marked_timer for module in MODULES]
    phases.follow(40)
    assert phases.current
    yield phases.current
    phases.current = None
    for module, timer in zip(MODULES, timers, strict=True):
        module.marked_timer = timer


def where(followed: phases.Phases) -> tuple[str, int]:
    moment = followed.moment()
    return moment["phase"], moment["step"]


def test_each_timer_of_verl_is_a_phase_and_still_measures(followed: phases.Phases) -> None:
    timing: dict[str, float] = {}
    assert where(followed) == ("start", 40)
    with trainer_base.marked_timer("step", timing):
        assert where(followed) == ("step", 41)
        with trainer_base.marked_timer("gen", timing, color="red"):
            assert where(followed) == ("generate", 41)
        with trainer_base.marked_timer("adv", timing):
            assert where(followed) == ("update", 41)
        for module in MODULES[1:]:
            with module.marked_timer("update_weights", timing):
                assert where(followed) == ("weight sync", 41)
        with pytest.raises(KeyError), trainer_base.marked_timer("save_checkpoint", timing):
            raise KeyError
        with trainer_base.marked_timer("dump_rollout_generations", timing):
            assert where(followed) == ("step", 41)
    assert where(followed) == ("step", 41)
    assert {"step", "gen", "adv", "update_weights"} <= timing.keys()


def test_responses_that_come_in_are_progress(followed: phases.Phases) -> None:
    with trainer_base.marked_timer("step", {}), trainer_base.marked_timer("gen", {}):
        followed.count("train", 3, "1 of 2 prompts are finished")
        before = followed.moment()
        followed.count("train", 3, "1 of 2 prompts are finished")
        assert followed.moment()["progress"] == before["progress"]
        assert before["told"] == "1 of 2 prompts are finished"
        followed.count("train", 4, "1 of 2 prompts are finished")
        assert followed.moment()["progress"] > before["progress"]


def test_a_validation_before_the_first_step_is_known_by_what_is_sampled(followed: phases.Phases) -> None:
    followed.count("val", 0, "0 of 8 prompts are finished")
    assert where(followed) == ("validate", 40)
