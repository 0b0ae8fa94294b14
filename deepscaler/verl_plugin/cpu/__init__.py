"""Runs verl without a GPU, for the quickstart and CI, through verl's own extension points.

platform  the CPU as a verl platform              VERL_PLATFORM, VERL_USE_EXTERNAL_MODULES
engine    verl's FSDP2 engine, for the CPU        verl's model.external_lib
forward   what sequences share, computed once    verl's interface of fused kernels
rollout   transformers behind a Ray actor        verl's rollout.name
router    the same requests in the same batches  verl's router_config_path

What is not an extension point, and hence tied to verl 0.9.1: `platform` replaces one function (verl asks torch for gloo
twice), `rollout` writes to one private dictionary. Ray is started with GPUs that do not exist; each stands for one
rank.

`forward` is the kit's own because few-shot prompts make up three quarters of a sequence, and verl would compute the
shared prompt for every response: a step would take five times as long. Updates use the rollout's log-probabilities
(`recompute_log_probs`, verl's bypass mode), because here both sides compute in float32 with the same kernels.
"""
