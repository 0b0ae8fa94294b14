"""Plans and submits SLURM jobs; runs on a login node."""
