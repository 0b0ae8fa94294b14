"""Hooks the kit into verl's trainer by `trainer.checkpoint_callback_class`, verl's own extension point.

After each save it publishes the checkpoint and prunes old ones. When a stop is asked for, it makes the step in flight
the last one: the trainer saves, publishes, logs and leaves its loop by itself. Signs of a sick run and stalls become
W&B's alerts.
"""

import os
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from verl.trainer.ppo.checkpoint_callback import CheckpointCallback

from deepscaler.runs.alarms import NewAlarms
from deepscaler.runs.beats import stalls_folder
from deepscaler.runs.checkpoints import publish
from deepscaler.runs.fence import FencedError, check_ownership
from deepscaler.runs.folder import own_attempt
from deepscaler.runs.retention import Retention, prune
from deepscaler.runs.rules import STALLED
from deepscaler.system.exit_codes import FENCED
from deepscaler.system.files import file_size, text_of
from deepscaler.verl_plugin import durable, phases, replaced

POLL = 1.0
"""Seconds between two looks at the run folder."""


class RunCallback(CheckpointCallback):  # type: ignore[misc]
    """Lives in the process of verl's trainer, which may be on another machine than the one that started it.

    Settings come by environment: DEEPSCALER_RUN_DIR, DEEPSCALER_ATTEMPT. What stays comes by verl's configuration.
    """

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        replaced.register()  # verl's trainer makes its callback before its workers
        own = own_attempt()
        assert own, "training.start sets the variables"
        self._run, self._attempt = own
        record = self._attempt.read_record()
        self._offset = record["step_offset"]
        phases.follow(record["resumed_step"])
        durable.follow(self._run, self._attempt, self._offset)
        trainer = self.config.trainer
        self._retention = Retention(trainer.keep, trainer.keep_every, trainer.keep_best)
        root = self._run.root  # by its inode too: a folder of the same name may be another run
        os.environ["WANDB_RUN_ID"] = f"{root.name}-{root.stat().st_ino:x}-{self._offset}"  # verl's logger starts later
        threading.Thread(target=self._watch, name="run-callback", daemon=True).start()

    def on_save(self, trainer: Any, global_step: int, checkpoint_dir: str, async_save: bool = False, **_: Any) -> None:
        """Publishes what was saved. Raises FencedError, which ends the training, if a newer attempt owns the run."""
        assert not async_save, "the recipes never save asynchronously"
        # What a fenced trainer was saving meanwhile must not count beside the newer one's.
        check = partial(check_ownership, self._run, self._attempt)
        step = self._offset + global_step
        publish(self._run, Path(checkpoint_dir), step=step, verl_step=global_step, check_ownership=check)
        prune(self._run, self._retention)
        if self._attempt.stop_path.exists():
            # verl reads it in the condition of its loop (trainer/ppo/v1/trainer_base.py): this step is still validated,
            # if it is due, and logged, and no other begins.
            trainer.total_training_steps = global_step

    def _watch(self) -> None:
        """Notices a stop request, a newer attempt, signs of a sick run, and stalls."""
        pause, alarms, size = threading.Event(), NewAlarms(self._run), 0
        while not pause.wait(POLL):
            # A shared file system may fail for a moment, and no later request would be heard if this thread ended.
            with suppress(OSError):
                self._mind_others()
            # verl appends a line a step, so all metrics are read again when there is something new, not every second.
            if size != (size := file_size(self._attempt.metrics_path)):
                for alarm in alarms.read():
                    _alert(alarm.sign.name, str(alarm))
            self._tell_stalls()

    def _mind_others(self) -> None:
        """Saves after this step if a stop is asked for; ends this process if a newer attempt owns the run."""
        try:
            check_ownership(self._run, self._attempt)
        except FencedError as error:
            print(error, flush=True)
            # sys.exit would end this thread alone; the trainer's own may hang in Ray, and must not write any more.
            os._exit(FENCED)
        if self._attempt.stop_path.exists():
            self.config.trainer.save_freq = 1  # read by the trainer at the end of every step

    def _tell_stalls(self) -> None:
        """Sends one alert for each stall, also for the one that ended the attempt before: its trainer may have hung.

        The mark beside the sentence is set once W&B has it: its run begins some time after this thread.
        """
        with suppress(OSError):
            for attempt in (self._run.attempt(self._attempt.number - 1), self._attempt):
                for path in stalls_folder(attempt).glob("*/sentence.txt"):
                    told = path.with_name("told")
                    if not told.exists() and (text := text_of(path)) and _alert(STALLED, text):
                        told.touch()


def _alert(name: str, text: str) -> bool:
    """Sends an alert by W&B, whose run is begun by verl's logger in this process; returns whether it took it."""
    wandb = sys.modules.get("wandb")
    if wandb and wandb.run:
        with suppress(Exception):  # W&B may be out of reach, and a training does not end by being watched
            wandb.run.alert(title=name, text=text, level="WARN")
            return True
    return False
