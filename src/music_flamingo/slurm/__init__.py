"""Training on a SLURM cluster: the job script, how it is submitted, and what runs."""
