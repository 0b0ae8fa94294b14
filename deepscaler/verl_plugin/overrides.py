"""From a recipe to verl 0.9.1's keys: the only file that knows them.

actor_rollout_ref.actor.ppo_mini_batch_size=64
actor_rollout_ref.rollout.val_kwargs.temperature=0.6
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.system.paths import ray_cpus

NO_DUAL_CLIP = 1e9
"""verl always applies dual clip, at 3.0 by default; a bound that nothing reaches is none."""

ATTENTION = "torch_varlen"
"""The name under which deepscaler.verl_plugin.attention registers itself."""

MOST_IN_A_GRAPH = 512
"""Sequences of the largest CUDA graph that vLLM captures by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaths:
    """Where one run reads and writes: places, not hyperparameters."""

    model: str
    train_files: tuple[Path, ...]
    validation_files: tuple[Path, ...]
    run_dir: Path
    checkpoint_dir: Path
    resume_from: Path | None = None
    """A `global_step_N` of the same world size."""
    step_offset: int = 0
    """Steps of the run before verl's count."""
    own_ray: bool = False
    """Whether verl starts a Ray, whose files go to RAY_TMPDIR, instead of joining the one at RAY_ADDRESS."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that every process needs, on every machine; verl logs them: no secrets."""
    wandb: bool = False


def to_overrides(recipe: Recipe, paths: RunPaths, device: Device = "cuda") -> dict[str, Any]:
    """Every verl key that the recipe or the run decides, with its value.

    Explicit about what verl 0.9.1 changed since DeepScaleR's fork: entropy coefficient, dual clip, overlong prompts,
    the length of the rollout engine's context, sampling in validation, loss aggregation.
    """
    return {
        **_algorithm(recipe),
        **_data(recipe, paths),
        **_actor(recipe, paths),
        **_rollout(recipe),
        **_run(recipe, paths),
        **_checkpoints(recipe, paths),
        **_ray(recipe, paths, device),
        **(_on_cpu(recipe) if device == "cpu" else _on_gpu(recipe)),
    }


def to_arguments(overrides: dict[str, Any]) -> list[str]:
    """Hydra's command line."""
    return [f"{key}={_hydra(value)}" for key, value in overrides.items()]


def _algorithm(recipe: Recipe) -> dict[str, Any]:
    correction = None if recipe.rollout_correction == "none" else recipe.rollout_correction
    return {
        "algorithm.adv_estimator": recipe.advantage_estimator,
        "critic.enable": False,
        "algorithm.use_kl_in_reward": False,
        "algorithm.kl_ctrl.kl_coef": recipe.kl_coefficient,
        "algorithm.filter_groups.enable": recipe.filter_groups,
        "algorithm.filter_groups.metric": "acc",
        "algorithm.norm_adv_by_std_in_grpo": recipe.normalize_by_deviation,
        "algorithm.rollout_correction.bypass_mode": not recipe.recompute_log_probs,
        "algorithm.rollout_correction.rollout_is": correction,
        "algorithm.rollout_correction.rollout_is_threshold": recipe.correction_threshold,
    }


def _data(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    return {
        "data.train_files": list(map(str, paths.train_files)),
        "data.val_files": list(map(str, paths.validation_files)),
        "data.train_batch_size": recipe.train_batch_size,
        "data.val_batch_size": None,
        "data.max_prompt_length": recipe.max_prompt_length,
        "data.max_response_length": recipe.max_response_length,
        "data.filter_overlong_prompts": True,
        "data.dataloader_num_workers": 0,  # a step's prompts are tokenized in milliseconds
        "data.seed": recipe.seed + paths.step_offset,  # a new count of verl's begins with other problems
    }


def _actor(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    actor = {
        "optim.lr": recipe.learning_rate,
        "optim.lr_scheduler_type": recipe.learning_rate_schedule,
        "optim.lr_warmup_steps": recipe.num_warmup_steps,
        "optim.weight_decay": recipe.weight_decay,
        "grad_clip": recipe.grad_clip,
        "ppo_mini_batch_size": recipe.mini_batch_size,
        "ppo_epochs": recipe.num_epochs_per_batch,
        "use_dynamic_bsz": True,
        "ppo_max_token_len_per_gpu": recipe.max_tokens_per_gpu,
        "clip_ratio": recipe.clip_ratio,
        "clip_ratio_low": recipe.clip_ratio,
        "clip_ratio_high": recipe.clip_ratio_high or recipe.clip_ratio,
        "clip_ratio_c": recipe.dual_clip or NO_DUAL_CLIP,
        "entropy_coeff": recipe.entropy_coefficient,
        "calculate_entropy": True,
        "policy_loss.loss_mode": recipe.policy_loss,
        "loss_agg_mode": recipe.loss_aggregation,
        "use_kl_loss": recipe.kl_coefficient > 0,
        "kl_loss_coef": recipe.kl_coefficient,
        "kl_loss_type": recipe.kl_type,
        "ulysses_sequence_parallel_size": recipe.sequence_parallel_size,  # the reference model's, too
        "fsdp_config.param_offload": recipe.offload_actor,
        "fsdp_config.optimizer_offload": recipe.offload_actor,
    }
    model = {
        "path": paths.model,
        "use_remove_padding": True,
        "enable_gradient_checkpointing": recipe.checkpoint_activations,
        "use_fused_kernels": recipe.fused_kernels != "none",
        "fused_kernel_options.impl_backend": recipe.fused_kernels,
    }
    return {
        **{f"actor_rollout_ref.model.{key}": value for key, value in model.items()},
        **{f"actor_rollout_ref.actor.{key}": value for key, value in actor.items()},
        "actor_rollout_ref.ref.fsdp_config.param_offload": True,
        "actor_rollout_ref.ref.log_prob_use_dynamic_bsz": True,
        "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": recipe.max_tokens_per_gpu,
    }


def _rollout(recipe: Recipe) -> dict[str, Any]:
    rollout = {
        "name": "vllm",
        "n": recipe.group_size,
        "temperature": recipe.temperature,
        "top_p": 1.0,
        "top_k": -1,
        "max_model_len": recipe.max_length,
        "tensor_model_parallel_size": recipe.tensor_parallel_size,
        "gpu_memory_utilization": recipe.gpu_memory_utilization,
        "log_prob_use_dynamic_bsz": True,
        "log_prob_max_token_len_per_gpu": recipe.max_tokens_per_gpu,
        "seed": recipe.seed,
        "calculate_log_probs": not recipe.recompute_log_probs or recipe.rollout_correction != "none",
        "val_kwargs.n": recipe.validation_group_size,
        "val_kwargs.temperature": recipe.validation_temperature,
        "val_kwargs.top_p": recipe.validation_top_p,
        "val_kwargs.top_k": -1,
        "val_kwargs.do_sample": recipe.validation_temperature > 0,
    }
    return {f"actor_rollout_ref.rollout.{key}": value for key, value in rollout.items()}


def _run(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    return {
        "reward.custom_reward_function.path": "pkg://deepscaler.verl_plugin.reward",
        "reward.custom_reward_function.name": "compute_score",
        "+reward.custom_reward_function.reward_kwargs.thinking": recipe.thinking,
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "RewardManager",
        "reward.reward_manager.module.path": "pkg://deepscaler.verl_plugin.reward_manager",
        "trainer.nnodes": recipe.num_nodes,
        "trainer.n_gpus_per_node": recipe.gpus_per_node,
        "trainer.total_training_steps": recipe.num_steps - paths.step_offset,
        "trainer.total_epochs": 1_000_000,  # the steps decide
        "trainer.test_freq": recipe.validate_every,
        "trainer.val_before_train": paths.resume_from is None,
        "trainer.critic_warmup": 0,
        "trainer.v1.trainer_mode": "colocate_async" if recipe.asynchronous_rollout else "sync",
        "trainer.rollout_data_dir": str(paths.run_dir / "rollouts"),
        "trainer.validation_data_dir": str(paths.run_dir / "validation"),
        "trainer.logger": ["console", "file", "tensorboard", *(["wandb"] if paths.wandb else [])],
        "trainer.project_name": "deepscaler",
        "trainer.experiment_name": f"{recipe.name}-{recipe.profile}-{paths.run_dir.name}",
    }


def _checkpoints(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    """Each attempt writes into a folder of its own; which checkpoints stay is decided by our callback."""
    return {
        "trainer.save_freq": recipe.save_every,
        "trainer.default_local_dir": str(paths.checkpoint_dir),
        "trainer.resume_mode": "resume_path" if paths.resume_from else "disable",
        "trainer.resume_from_path": str(paths.resume_from) if paths.resume_from else None,
        "trainer.max_actor_ckpt_to_keep": None,
        "trainer.checkpoint_callback_class": "deepscaler.verl_plugin.callback.RunCallback",
    }


def _ray(recipe: Recipe, paths: RunPaths, device: Device) -> dict[str, Any]:
    """The environment for all workers; and, where verl starts Ray itself, one that only this machine can reach."""
    environment: dict[str, Any] = {
        f"+ray_kwargs.ray_init.runtime_env.env_vars.{k}": v for k, v in paths.environment.items()
    }
    # a part of the queue on every node else, also on a head that offers no processor, where it can never start
    environment["+transfer_queue.backend.SimpleStorage.required_node_resource"] = "GPU"
    if not paths.own_ray:
        return environment
    local = {
        "+ray_kwargs.ray_init.address": "local",
        "+ray_kwargs.ray_init._node_ip_address": "127.0.0.1",
        "+ray_kwargs.ray_init.include_dashboard": False,
        "ray_kwargs.ray_init.num_cpus": ray_cpus(recipe.gpus_per_node),
    }
    if device == "cpu":  # a pretended GPU for each rank
        local["+ray_kwargs.ray_init.num_gpus"] = recipe.gpus_per_node
    return {**environment, **local}


def _on_gpu(recipe: Recipe) -> dict[str, Any]:
    """Returns the kit's engine for GPUs, CUDA graphs of as many sequences as an engine is given, and fewer processes.

    vLLM captures 51 sizes up to 512 unless told otherwise, each at every start. verl starts eight processes of each
    kind for any number of GPUs, and each imports torch and verl first.
    """
    engines = recipe.world_size // recipe.tensor_parallel_size
    most = min(MOST_IN_A_GRAPH, -(-recipe.train_batch_size * recipe.group_size // engines))
    if recipe.asynchronous_rollout:  # a second batch is in flight
        most = min(MOST_IN_A_GRAPH, 2 * most)
    num_workers = min(8, 2 * recipe.world_size)
    return {
        "actor_rollout_ref.model.external_lib": "deepscaler.verl_plugin.engine",
        "+actor_rollout_ref.model.override_config.attn_implementation": ATTENTION,
        "actor_rollout_ref.rollout.cudagraph_capture_sizes": [1, 2, 4, *range(8, most + 8, 8)],
        "actor_rollout_ref.rollout.agent.num_workers": num_workers,
        "reward.num_workers": num_workers,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": num_workers,
    }


def _on_cpu(recipe: Recipe) -> dict[str, Any]:
    """The plug-in of deepscaler.verl_plugin.cpu, everything in float32, and as few processes as verl allows."""
    models = {
        f"actor_rollout_ref.{part}.{key}": value
        for part in ("actor", "ref")
        for key, value in {
            "strategy": "fsdp2",
            "fsdp_config.use_torch_compile": False,
            "fsdp_config.model_dtype": "fp32",
            "+fsdp_config.mixed_precision.param_dtype": "fp32",
        }.items()
    }
    return {
        **{("+" if "+" in key else "") + key.replace("+", ""): value for key, value in models.items()},
        "actor_rollout_ref.model.external_lib": "deepscaler.verl_plugin.cpu.engine",
        "actor_rollout_ref.model.use_remove_padding": False,
        "actor_rollout_ref.model.use_fused_kernels": True,  # the interface of our forward pass
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        "actor_rollout_ref.rollout.name": "transformers",
        "actor_rollout_ref.rollout.max_num_seqs": 128,
        "actor_rollout_ref.rollout.agent.num_workers": 1,
        "reward.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }


def _hydra(value: Any) -> str:
    """Returns a value in Hydra's override grammar; a text may hold any character.

    Inside quotes Hydra knows no escapes but that of the quote: a backslash counts as one unless a quote follows, and
    OmegaConf would look up what stands in ${}.
    """
    if isinstance(value, str):
        text = value.replace("${", "\\${")
        return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + (found[2] and '\\"'), text) + '"'
    if isinstance(value, list):
        return f"[{','.join(map(_hydra, value))}]"
    return json.dumps(value) if not isinstance(value, float) else repr(value)
