# shellcheck shell=bash
# A successor is this job once more. It begins when this one has ended, however that was, and resumes from the disk.
# $1 counts those before it, $2 is the job that it succeeds. They share $job_folder: while `again` is there, something is
# left to do; `successors` lists their numbers at SLURM.
: "${job_folder:?}"
export DEEPSCALER_SUCCESSOR=${1:-0}
trap : TERM  # SLURM's own end of a job must not keep this script from its last lines

is_cancelled() {  # by a person, while it ends or later; not by a preemption or by SLURM itself
  local told
  told=$(scontrol --oneliner show job "$1" 2>/dev/null) || told=JobState=$(sacct -nPX -o State -j "$1" 2>/dev/null)
  case $told in
    *JobState=CANCELLED*) return 0 ;;
    *PreemptTime=[0-9]*) return 1 ;;
    *'JobState=COMPLETING Reason=None '*) return 0 ;;
    *) return 1 ;;
  esac
}

newest_successor() { tail -n 1 "$job_folder/successors" 2>/dev/null; }

state_of() { squeue --noheader --jobs "$1" --format %T 2>/dev/null; }

queue_successor() {  # one at a time; whatever waits for this job's success waits for that of either from now on
  local this=$SLURM_JOB_ID next number=1
  next=$(newest_successor)
  if [ -n "$next" ] && [ "$next" != "$this" ] && [ -n "$(state_of "$next")" ]; then return; fi
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
  local newest
  newest=$(newest_successor)
  if [ -n "$newest" ] && [ "$newest" != "$SLURM_JOB_ID" ] && [ "$(state_of "$newest")" = RUNNING ]; then
    echo "job $newest has taken over"
    exit 130
  fi
  if [ -n "${2:-}" ] && [ "${SLURM_RESTART_COUNT:-0}" = 0 ]; then
    if [ ! -e "$job_folder/again" ] || is_cancelled "$2"; then
      echo "job $2 has left nothing to resume"
      exit 130
    fi
    cp "$job_folder/$2_submitted.pkl" "$job_folder/${SLURM_JOB_ID}_submitted.pkl"  # what submitit runs
  fi
  : >"$job_folder/again"  # the head does so, too, but only once Python has been imported
  queue_successor
}

settle_successor() {  # at the end: what waits goes where nothing is left to do, and where a person cancelled this job
  local newest attempt
  newest=$(newest_successor)
  printf -v attempt '%s/attempt-%02d' "$job_folder" $((1000 * DEEPSCALER_SUCCESSOR + ${SLURM_RESTART_COUNT:-0}))
  if is_cancelled "$SLURM_JOB_ID"; then
    rm -f "$job_folder/again"
  elif [ ! -d "$attempt" ] && [ "$(state_of "$SLURM_JOB_ID")" = RUNNING ]; then
    rm -f "$job_folder/again"  # its command could not even be started, and nothing counts such starts
  fi
  if [ ! -e "$job_folder/again" ] && [ -n "$newest" ] && [ "$newest" != "$SLURM_JOB_ID" ]; then scancel "$newest"; fi
}
