"""verl on a machine without a GPU, for the quickstart and CI: registered through verl's own extension points.

platform  torch.cpu as a verl platform                      VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=deepscaler.cpu.platform
engine    verl's FSDP2 engine, registered for the CPU       actor_rollout_ref.model.external_lib=deepscaler.cpu.engine
rollout   a rollout on transformers, batch by batch         actor_rollout_ref.rollout.name=transformers

What is not an extension point, and hence tied to verl 0.9.1: `platform` replaces one function (verl asks torch for gloo
twice), `rollout` writes to one private dictionary. Ray is told of GPUs that do not exist; each stands for one rank.
"""
