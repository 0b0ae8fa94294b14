"""Finds the likely cause of a stall in its evidence, in a sentence: that of the first line of the table that fits.

all of a machine's processes silent     the machine is lost, or does not reach the run's folder
a machine that takes no connection      the network between it and the head is cut, one way or both
one process silent, state T             a signal (SIGSTOP) or a debugger has stopped it
one process silent, state D             it waits for a disk
one process silent and gone             it was killed, often for lack of memory
one process silent, any other state     it hangs in native code without letting Python run
an actor that Ray has seen die          it was killed, before it gave a sign of life or on a machine that is gone
generating, and a reward in flight      it does not return; else the same of a response at a rollout worker of the kit,
                                        or of a prompt at an agent loop, which any rollout worker may hold
generating, and nothing is in flight    a prompt was lost (verl #7155)
another phase, all alive                ranks wait for each other, or for Ray
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deepscaler.runs.beats import Beat, role_of
from deepscaler.runs.phases import BEAT, GENERATE, START, VALIDATE, Moment
from deepscaler.system.stacks import Seen

SILENT = 6 * BEAT
"""Seconds without a sign of life after which a process does not live; on a busy machine it writes now and then."""

FEW = 4
"""Processes that are named one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A training that stalls, as the signs of life of its processes show it."""

    moment: Moment
    seconds: float
    """Seconds without progress."""
    usual: float | None = None
    """Seconds that the phase usually takes; None for a phase that is new to the run."""
    beats: Sequence[tuple[Beat, float]] = field(default_factory=tuple)
    """Each process, and for how many seconds it has said nothing."""

    def __str__(self) -> str:
        """Returns where it stalls: `no progress for 63 s in generate at step 12, which takes 2.1 s otherwise`."""
        usual = f", which takes {self.usual:.1f} s otherwise" if self.usual is not None else ""
        step = f" at step {self.moment.step}" if self.moment.step else ""
        told = f" ({self.moment.told})" if self.moment.told else ""
        return f"no progress for {self.seconds:.0f} s in {self.moment.phase}{step}{usual}{told}"


def likely_cause(
    silence: Silence,
    seen: Mapping[str, Sequence[Seen]],
    unreachable: Sequence[str] = (),
    gone: Sequence[str] = (),
) -> str:
    """Returns the likely cause; `seen` is what was found on each machine that could be looked at.

    `unreachable` are those that take no connection from the supervisor's, `gone` the actors that Ray has seen die.
    """
    alive = [beat for beat, seconds in silence.beats if seconds <= SILENT]
    silent = not_replaced(silence.beats)
    beats = [*((beat, seconds) for beat, seconds in silence.beats if seconds <= SILENT), *silent]
    lost = _lost_machines(beats)
    if lost and alive:
        return f"{_listed(lost)} {_is_or_are(lost)} lost, or cut off from the others and the run's folder"
    if unreachable:
        return f"the network between the head and {_listed(unreachable)} is cut, one way or both"
    if silent:
        return _of_silent(silent, seen)
    if stopped := _stopped(seen):
        return f"{_listed(stopped)} {_is_or_are(stopped)} stopped by a signal (SIGSTOP) or a debugger"
    if gone:
        return f"{_listed(gone)} {_said('gone', gone)}"
    return _of_living(silence, alive)


def not_replaced(beats: Sequence[tuple[Beat, float]]) -> list[tuple[Beat, float]]:
    """Returns the processes that are silent, but for actors that died and were started again under their names."""
    replaced = {beat.name for beat, seconds in beats if beat.name and seconds <= SILENT}
    return [(beat, seconds) for beat, seconds in beats if seconds > SILENT and beat.name not in replaced]


def _lost_machines(beats: Iterable[tuple[Beat, float]]) -> list[str]:
    """Returns the machines none of whose processes gives a sign of life."""
    silences: dict[str, list[float]] = defaultdict(list)
    for beat, seconds in beats:
        silences[beat.host].append(seconds)
    # More than one process: a single silent one is more likely dead than its machine is.
    return [host for host, seconds in silences.items() if min(seconds) > SILENT and len(seconds) > 1]


def _of_silent(silent: Sequence[tuple[Beat, float]], seen: Mapping[str, Sequence[Seen]]) -> str:
    """Returns what is wrong with processes that give no sign of life; names those that explain most."""
    causes: dict[str, list[str]] = defaultdict(list)
    for beat, seconds in silent:
        causes[_state(beat, seconds, seen)].append(str(beat))
    order = ("stopped", "waits for a disk", "gone", "silent")
    return "; ".join(f"{_listed(causes[state])} {_said(state, causes[state])}" for state in order if state in causes)


def _state(beat: Beat, seconds: float, seen: Mapping[str, Sequence[Seen]]) -> str:
    if beat.host not in seen:
        return "silent"
    process = next((one for one in seen[beat.host] if one.pid == beat.pid), None)
    # A zombie is dead and only not reaped yet: proc(5) shows it as Z, and for a moment as X.
    if process is None or process.state in ("", "Z", "X"):
        return "gone"
    return {"T": "stopped", "t": "stopped", "D": "waits for a disk"}.get(process.state, "silent")


def _said(state: str, who: Sequence[str]) -> str:
    verb = _is_or_are(who)
    return {
        "stopped": f"{verb} stopped by a signal (SIGSTOP) or a debugger",
        "waits for a disk": f"{'waits' if len(who) == 1 else 'wait'} for a disk or a file system",
        "gone": f"{verb} gone: killed, often for lack of memory",
        "silent": f"{verb} without a sign of life: stuck in native code, or cut off from the run's folder",
    }[state]


def _stopped(seen: Mapping[str, Sequence[Seen]]) -> list[str]:
    return [
        f"the {role_of(process.name) or process.name} on {host} (pid {process.pid})"
        for host, processes in seen.items()
        for process in processes
        if process.state in ("T", "t")
    ]


def _of_living(silence: Silence, alive: Sequence[Beat]) -> str:
    """Returns what holds a training whose processes all live."""
    phase = silence.moment.phase
    if phase in (GENERATE, VALIDATE):
        # The innermost first: a prompt is in progress at its agent loop while its response is.
        for what in ("reward", "response", "prompt"):
            if held := [(seconds, beat) for beat in alive for name, seconds in beat.doing if name == what]:
                seconds, beat = max(held, key=lambda one: one[0])
                return f"a {what} has been in progress for {seconds:.0f} s at {beat}"
        return "a prompt was lost: it is counted as running, and no living process works on it"
    if phase == START:
        return (
            "the trainer, all of whose processes live, waits for something to come up; see its stack and Ray's states"
        )
    return f"all processes live, so some wait for each other or for Ray in {phase}: compare their stacks"


def _listed(names: Sequence[str]) -> str:
    shown = [*names[:FEW], *([f"{len(names) - FEW} more"] if len(names) > FEW else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _is_or_are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
