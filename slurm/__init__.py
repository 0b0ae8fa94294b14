"""Jobs on a SLURM cluster: a site file says where, submitit submits, one Python task a node does the rest."""
