# shellcheck shell=bash
# While $job_folder/again is there, something is left to do, and the job asks for its next start. The file is made before
# the task begins, which a signal may kill while Python or a container starts; only an end for good removes it.
: "${job_folder:?}"
mkdir -p "$job_folder"

patiently() {  # asks SLURM again for a minute while that fails: its controller may be starting just now
  local said end=$((SECONDS + 60))
  type -P "$1" >/dev/null || return
  until said=$("$@" 2>&1); do
    case $said in *'nvalid job id'* | *'already complet'* | *disabled* | *denied*) return 1 ;; esac
    if [ "$SECONDS" -ge "$end" ]; then return 1; fi
    sleep 2
  done
  echo "$said"
}

shown() {  # how SLURM describes a job; the number of an array's last element stands for all of them, so it is picked
  local told line
  told=$(patiently scontrol --oneliner show job "$1") || return
  while read -r line; do
    case $line in "JobId=$1 "*) echo "$line" ;; esac
  done <<<"$told"
}

settle_start() {  # at the end of the script: counts starts that did not come to the task, unless SLURM ended them
  local attempt
  this_job=$(shown "$SLURM_JOB_ID") || this_job=
  if [[ $this_job =~ ' Restarts='([0-9]+) && ${BASH_REMATCH[1]} != "${SLURM_RESTART_COUNT:-0}" ]]; then
    this_job=  # SLURM lost sight of this node and started the job elsewhere, which is not this script's to requeue
  fi
  printf -v attempt '%s/attempt-%02d' "$job_folder" $((1000 * ${DEEPSCALER_SUCCESSOR:-0} + ${SLURM_RESTART_COUNT:-0}))
  if [ -d "$attempt" ]; then
    rm -f "$job_folder/unstarted"
  elif [[ $this_job == *JobState=RUNNING* && $this_job != *PreemptTime=[0-9]* && -e $job_folder/again ]]; then
    echo "$SLURM_JOB_ID" >>"$job_folder/unstarted" || rm -f "$job_folder/again"  # a full disk leaves no count
    if [ "$(cat "$job_folder/unstarted" 2>/dev/null | wc -l)" -ge 3 ]; then
      echo "giving up: three starts in a row ended before the kit's first line; see $job_folder"
      rm -f "$job_folder/again" "$job_folder/unstarted"
    fi
  fi
}

requeue() {  # unless SLURM or a person is ending this job: a requeue would bring back what has been cancelled
  if [ ! -e "$job_folder/again" ] || [[ $this_job != *JobState=RUNNING* ]]; then return; fi
  patiently scontrol requeue "$SLURM_JOB_ID" >/dev/null || echo "SLURM does not requeue job $SLURM_JOB_ID"
}
