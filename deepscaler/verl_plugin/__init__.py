"""Holds everything of the kit that verl imports, and every key of verl's configuration that the kit sets.

verl's V1 trainer is used unmodified, through its extension points: a checkpoint callback publishes checkpoints and
stops the loop; a reward manager counts truncated responses; a sampler bounds refills, counts rejected prompts and logs
the parts of the reward; an agent loop gives validation its own length and every response a seed, derived from the
numbers that a manager of agent loops gives to prompts; on CPUs a router has the same requests computed together;
registries take the platform, engine and rollout for a CPU, and verl's losses with a count for each bound of the ratio.
`cpu/__init__.py`, `durable.py`, which has a step's numbers and samples written before it counts, and `replaced.py`,
which lets Ray restart reward workers, name what goes beyond this.
"""
