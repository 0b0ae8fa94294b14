"""verl on a machine without a GPU, for the quickstart and CI: registered through verl's own extension points.

platform  the CPU as a verl platform              VERL_PLATFORM, VERL_USE_EXTERNAL_MODULES
engine    verl's FSDP2 engine, for the CPU        verl's model.external_lib
forward   what sequences share, computed once    verl's interface of fused kernels
rollout   transformers behind a Ray actor        verl's rollout.name

What is not an extension point, and hence tied to verl 0.9.1: `platform` replaces one function (verl asks torch for gloo
twice), `rollout` writes to one private dictionary. Ray is told of GPUs that do not exist; each stands for one rank.
"""
