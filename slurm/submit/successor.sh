# shellcheck shell=bash
# A successor is this job once more. It begins when this one has ended, however that was, and resumes from the disk.
# $1 counts those before it, $2 is the job that it succeeds. They share $job_folder, and `again` in it (see restart.sh):
# `successors` lists their numbers at SLURM.
: "${job_folder:?}" "${this_job=}"
export DEEPSCALER_SUCCESSOR=${1:-0}
trap : TERM  # SLURM's own end of a job must not keep this script from its last lines

is_cancelled() {  # by a person, while it ends or later; not by a preemption or by SLURM itself
  case $1 in
    *JobState=CANCELLED*) return 0 ;;
    *PreemptTime=[0-9]*) return 1 ;;
    *'JobState=COMPLETING Reason=None '*) return 0 ;;
    *) return 1 ;;
  esac
}

newest_successor() { tail -n 1 "$job_folder/successors" 2>/dev/null; }

state_of() {  # empty for a job that SLURM has done with; fails where nobody knows
  local jobs number state
  jobs=$(patiently squeue --noheader --user "$SLURM_JOB_USER" --format '%A %T') || return
  while read -r number state; do
    if [ "$number" = "$1" ]; then echo "$state"; fi
  done <<<"$jobs"
}

queue_successor() {  # one at a time; whatever waits for this job's success waits for that of either from now on
  local this=$SLURM_JOB_ID next state number=1
  next=$(newest_successor)
  if [ -n "$next" ] && [ "$next" != "$this" ]; then
    state=$(state_of "$next") || return 0  # it may be there, and of two both would resume
    if [ -n "$state" ]; then return; fi
  fi
  [ -z "$next" ] || number=$(($(wc -l <"$job_folder/successors") + 1))
  next=$(
    for name in "${!SLURM_@}"; do [ "$name" = SLURM_CONF ] || unset "$name"; done  # of this job, not of that one
    sbatch --parsable --dependency="afterany:$this" "$0" "$number" "$this"
  ) || { echo "SLURM takes no successor of job $this: if SLURM ends it for good, nothing resumes it"; return; }
  next=${next%%;*}
  echo "$next" >>"$job_folder/successors"
  squeue --noheader --user "$SLURM_JOB_USER" --states PENDING --format '%A %E' | while read -r follower waits; do
    if [[ $waits =~ afterok:$this($|[^0-9]) ]]; then
      scontrol update JobId="$follower" Dependency="afterok:$this?afterok:$next"
    fi
  done
}

take_over() {  # ends here where nothing is left to resume, or somebody resumes it already
  local newest told
  newest=$(newest_successor)
  if [ -n "$newest" ] && [ "$newest" != "$SLURM_JOB_ID" ] && [ "$(state_of "$newest")" = RUNNING ]; then
    echo "job $newest has taken over"
    exit 130
  fi
  if [ -n "${2:-}" ] && [ "${SLURM_RESTART_COUNT:-0}" = 0 ]; then
    told=$(shown "$2") || told=JobState=$(sacct -nPX -o State -j "$2" 2>/dev/null)
    if [ ! -e "$job_folder/again" ] || is_cancelled "$told"; then
      echo "job $2 has left nothing to resume"
      exit 130
    fi
    cp "$job_folder/$2_submitted.pkl" "$job_folder/${SLURM_JOB_ID}_submitted.pkl"  # what submitit runs
  fi
  : >"$job_folder/again"  # before the successor, which would find nothing to do
  queue_successor
}

settle_successor() {  # at the end: what waits goes where nothing is left to do, and where a person cancelled this job
  local newest
  newest=$(newest_successor)
  if is_cancelled "$this_job"; then rm -f "$job_folder/again"; fi
  if [ ! -e "$job_folder/again" ] && [ -n "$newest" ] && [ "$newest" != "$SLURM_JOB_ID" ]; then
    patiently scancel "$newest"
  fi
}
