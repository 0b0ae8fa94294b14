"""Turns a recipe into verl 0.9.1's keys: this is the only file that knows them.

actor_rollout_ref.actor.ppo_mini_batch_size=64
actor_rollout_ref.rollout.val_kwargs.temperature=0.6
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.models.model import TO_READ_AHEAD
from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.runs.reward_file import copied_function
from deepscaler.system.paths import ray_cpus

NO_DUAL_CLIP = 1e9
"""verl always applies dual clip, at 3.0 by default; a bound that nothing reaches is none."""

STALEST = 8
"""Weight updates after which verl by default drops a response; a recipe that asks for older ones raises it."""

TRAINING_TOP_K, VALIDATION_TOP_K = -1, 0
"""Both cut nothing off. All that an agent loop learns of a validation is its sampling parameters, so they differ."""

RESPONSE_LIMIT = "response_limit"
"""The bound of a response's tokens, among what our agent loop passes on with it for our reward manager."""

ATTENTION = "torch_varlen"
"""The name under which deepscaler.verl_plugin.attention registers itself."""

REPEATABLE = "actor_rollout_ref.rollout.full_determinism"
"""verl's key that makes an engine's kernels repeatable; vllm_async_server.py adds seeds where requests have none."""

MOST_IN_A_GRAPH = 512
"""Sequences of the largest CUDA graph that vLLM captures by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaths:
    """Places where one run reads and writes; no hyperparameters."""

    model: str
    train_files: tuple[Path, ...]
    validation_files: tuple[Path, ...]
    run_dir: Path
    checkpoint_dir: Path
    resume_from: Path | None = None
    """A `global_step_N` of the same world size."""
    validate_first: bool = True
    """True if the weights are validated before the first step."""
    step_offset: int = 0
    """Steps of the run before verl's count."""
    own_ray: bool = False
    """True if verl starts a Ray, whose files go to RAY_TMPDIR, instead of joining the one at RAY_ADDRESS."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that every process needs, on every machine; verl logs them: no secrets."""
    wandb: bool = False


def to_overrides(recipe: Recipe, paths: RunPaths, device: Device = "cuda") -> dict[str, Any]:
    """Returns every key of verl that the recipe or the run decides, with its value.

    Explicit about what verl 0.9.1 changed since DeepScaleR's fork: entropy coefficient, dual clip, overlong prompts,
    the length of the rollout engine's context, sampling in validation, loss aggregation.
    """
    ours = {
        **_algorithm(recipe),
        **_data(recipe, paths),
        **_actor(recipe, paths),
        **_rollout(recipe, paths),
        **_run(recipe, paths),
        **_checkpoints(recipe, paths),
        **_ray(recipe, paths, device),
        **(_on_cpu(recipe) if device == "cpu" else _on_gpu(recipe)),
    }
    return _merged(ours, recipe.verl)


def _merged(ours: dict[str, Any], users: Mapping[str, Any]) -> dict[str, Any]:
    """Returns our keys with those of a recipe's [verl] in their place or beside them (see user_keys).

    `++` sets a key whether verl's YAML has it or not. TOML has no null, so the text stands for it.
    """
    left = {key: value for key, value in ours.items() if key.lstrip("+") not in users}
    return left | {f"++{key}": None if value == "null" else value for key, value in users.items()}


def to_arguments(overrides: dict[str, Any]) -> list[str]:
    """Returns Hydra's command line."""
    return [f"{key}={_hydra(value)}" for key, value in overrides.items()]


def _algorithm(recipe: Recipe) -> dict[str, Any]:
    correction = None if recipe.rollout_correction == "none" else recipe.rollout_correction
    weights, rejection = recipe.correction_threshold, recipe.rejection_threshold
    rejects = recipe.rollout_rejection != "none"
    return {
        "algorithm.adv_estimator": recipe.advantage_estimator,
        # null would leave it to verl's need_critic, which warns at each start unless the estimator is GAE.
        "critic.enable": False,
        "algorithm.use_kl_in_reward": False,
        # Inert while use_kl_in_reward is false; DeepScaleR's scripts set it, and so does this configuration.
        "algorithm.kl_ctrl.kl_coef": recipe.kl_coefficient,
        "algorithm.filter_groups.enable": recipe.filter_groups,
        "algorithm.filter_groups.metric": _filtered_by(recipe),
        "algorithm.norm_adv_by_std_in_grpo": recipe.normalize_by_deviation,
        "algorithm.rollout_correction.bypass_mode": not recipe.recompute_log_probs,
        "algorithm.rollout_correction.rollout_is": correction,
        "algorithm.rollout_correction.rollout_is_threshold": _bounds(recipe.correction_floor, weights),
        "algorithm.rollout_correction.rollout_rs": recipe.rollout_rejection if rejects else None,
        "algorithm.rollout_correction.rollout_rs_threshold": _bounds(recipe.rejection_floor, rejection or None),
    }


def _bounds(low: float, high: float | None) -> str | float | None:
    """Returns one or two bounds as verl takes them: `0.5_2.0`."""
    return f"{low!r}_{high!r}" if low else high


def _filtered_by(recipe: Recipe) -> str:
    """Returns what tells good responses of a group from bad ones: the grader's verdict, as in DAPO, or the reward."""
    is_graded = recipe.reward.parts.get("grader") and not recipe.reward.parts.get("function")
    return "acc" if is_graded else "reward"


def _data(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    return {
        "data.train_files": list(map(str, paths.train_files)),
        "data.val_files": list(map(str, paths.validation_files)),
        "data.train_batch_size": recipe.train_batch_size,
        # Deprecated in verl: null sends all problems to the engines at once, which batch by themselves.
        "data.val_batch_size": None,
        "data.max_prompt_length": recipe.max_prompt_length,
        "data.max_response_length": recipe.longest_response,
        # DeepScaleR's fork always dropped them; verl would end at the first one (`truncation=error`).
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
        # verl's losses read the bounds below, and fall back to this one where they are null.
        "clip_ratio": recipe.clip_ratio,
        "clip_ratio_low": recipe.clip_ratio_low or recipe.clip_ratio,
        "clip_ratio_high": recipe.clip_ratio_high or recipe.clip_ratio,
        "clip_ratio_c": recipe.dual_clip or NO_DUAL_CLIP,
        "entropy_coeff": recipe.entropy_coefficient,
        # Otherwise verl's update computes it for a bonus only, and its bypass mode would log none.
        "calculate_entropy": True,
        "policy_loss.loss_mode": recipe.policy_loss,
        "loss_agg_mode": recipe.loss_aggregation,
        "use_kl_loss": recipe.kl_coefficient > 0,
        "kl_loss_coef": recipe.kl_coefficient,
        "kl_loss_type": recipe.kl_type,
        "ulysses_sequence_parallel_size": recipe.sequence_parallel_size,  # the reference model's, too
        "fsdp_config.seed": recipe.seed,
        "fsdp_config.param_offload": recipe.offload_actor,
        "fsdp_config.optimizer_offload": recipe.offload_actor,
    }
    model = {
        "path": paths.model,
        "use_remove_padding": True,
        "enable_gradient_checkpointing": recipe.checkpoint_activations,
        "use_fused_kernels": recipe.fused_kernels != "none",
        "fused_kernel_options.impl_backend": recipe.fused_kernels,
        **_adapter(recipe),
    }
    return {
        **_below("actor_rollout_ref.model", model),
        **_below("actor_rollout_ref.actor", actor),
        # It says what happens anyway: verl 0.9.1 forces a reference onto the host
        # (workers/engine/fsdp/transformer_impl.py).
        "actor_rollout_ref.ref.fsdp_config.param_offload": True,
        "actor_rollout_ref.ref.log_prob_use_dynamic_bsz": True,
        "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": recipe.max_tokens_per_gpu,
    }


def _adapter(recipe: Recipe) -> dict[str, Any]:
    modules = list(recipe.lora_modules)
    return {
        "lora_rank": recipe.lora_rank,
        "lora_alpha": recipe.lora_alpha,
        "target_modules": modules[0] if modules == ["all-linear"] else modules,  # peft knows it as a text alone
    }


def _rollout(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    rollout: dict[str, Any] = {
        "name": "vllm",
        "n": recipe.group_size,
        "temperature": recipe.temperature,
        "top_p": 1.0,
        "top_k": TRAINING_TOP_K,
        # null means the model's maximum, 131,072 tokens for DeepSeek's distillates: vLLM plans its cache by it.
        "max_model_len": recipe.max_prompt_length + recipe.longest_response,
        "tensor_model_parallel_size": recipe.tensor_parallel_size,
        "gpu_memory_utilization": recipe.gpu_memory_utilization,
        "log_prob_use_dynamic_bsz": True,
        "log_prob_max_token_len_per_gpu": recipe.max_tokens_per_gpu,
        "seed": recipe.seed,
        "calculate_log_probs": not recipe.recompute_log_probs or _corrects(recipe),
        "val_kwargs.n": recipe.validation_group_size,
        "val_kwargs.temperature": recipe.validation_temperature,
        "val_kwargs.top_p": recipe.validation_top_p,
        "val_kwargs.top_k": VALIDATION_TOP_K,
        "val_kwargs.do_sample": recipe.validation_temperature > 0,
        "agent.default_agent_loop": "deepscaler",
        "agent.agent_loop_config_path": str(Path(__file__).with_name("agent_loops.yaml")),
        "+agent.agent_loop_manager_class": "deepscaler.verl_plugin.dispatch.DispatchingManager",
        # read by our agent loop
        "+custom.training_length": recipe.max_response_length,
        "+custom.validation_length": recipe.validation_length,
        "+custom.mask_truncated": recipe.mask_truncated,
        "+custom.seeded": gives_seeds(recipe),
        "+custom.step_offset": paths.step_offset,
        "+custom.num_servers": 0,
    }
    if recipe.lora_rank:
        rollout["load_format"] = "safetensors"  # the engine reads the base itself, then gets adapters only
    return _below("actor_rollout_ref.rollout", rollout)


def gives_seeds(recipe: Recipe) -> bool:
    """Returns whether each response has a seed of its own."""
    # A response that continues after an update would begin its random numbers again.
    return recipe.seeded_responses and not recipe.asynchronous_rollout


def _corrects(recipe: Recipe) -> bool:
    return recipe.rollout_correction != "none" or recipe.rollout_rejection != "none"


def _run(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    return {
        **_reward(recipe, paths),
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "RewardManager",
        "reward.reward_manager.module.path": "pkg://deepscaler.verl_plugin.reward_manager",
        "trainer.nnodes": recipe.num_nodes,
        "trainer.n_gpus_per_node": recipe.gpus_per_node,
        "trainer.total_training_steps": recipe.num_steps - paths.step_offset,
        "trainer.total_epochs": 1_000_000,  # the steps decide
        "trainer.test_freq": recipe.validate_every,
        # verl would validate at each resume again, and the run's metrics have that step already.
        "trainer.val_before_train": paths.validate_first,
        "trainer.critic_warmup": 0,
        **_sampling(recipe, paths),
        "trainer.rollout_data_dir": str(paths.run_dir / "rollouts"),
        "trainer.validation_data_dir": str(paths.run_dir / "validation"),
        "trainer.logger": ["console", "file", "tensorboard", *(["wandb"] if paths.wandb else [])],
        "trainer.project_name": "deepscaler",
        "trainer.experiment_name": f"{recipe.name}-{recipe.profile}-{paths.run_dir.name}",
    }


def _sampling(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    """Returns the keys of the kit's sampler: verl's, with a bound of refills and a count of discarded groups."""
    own = {
        "train_batch_size": recipe.train_batch_size,
        "max_refills": recipe.max_refills,
        "step_offset": paths.step_offset,
    }
    return {
        "trainer.v1.trainer_mode": "colocate_async" if recipe.asynchronous_rollout else "sync",
        "trainer.v1.colocate_async.num_warmup_batches": recipe.batches_ahead,
        "trainer.v1.sampler.max_off_policy_threshold": max(STALEST, recipe.batches_ahead + 2),
        "trainer.v1.sampler.custom_sampler.path": "pkg://deepscaler.verl_plugin.sampler",
        "trainer.v1.sampler.custom_sampler.name": "AsyncSampler" if recipe.asynchronous_rollout else "Sampler",
        **{f"+trainer.v1.sampler.sampler_kwargs.{key}": value for key, value in own.items()},
        "+trainer.v1.sampler.sampler_kwargs.filter_by": _filtered_by(recipe) if recipe.filter_groups else None,
    }


def _reward(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    """Returns our reward function and its arguments: the parts, and the run's own copy of a user's function."""
    options = recipe.reward
    arguments: dict[str, Any] = {"thinking": recipe.thinking, "max_tokens": recipe.max_response_length}
    arguments |= {f"parts.{name}": weight for name, weight in options.parts.items()}
    if options.overlong_buffer:
        arguments["overlong_buffer"] = options.overlong_buffer
    if options.length_cap:
        arguments["length_cap"] = options.length_cap
    if options.function:
        arguments |= {
            "function.file": copied_function(paths.run_dir, options.function),
            "function.timeout": options.timeout,
            "function.memory": options.memory,
            "function.num_workers": options.num_workers,
        }
    return {
        "reward.custom_reward_function.path": "pkg://deepscaler.verl_plugin.reward",
        "reward.custom_reward_function.name": "compute_score",
        **{f"+reward.custom_reward_function.reward_kwargs.{name}": value for name, value in arguments.items()},
    }


def _checkpoints(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    """Returns keys that give each attempt a folder of its own; the kit's callback decides which checkpoints stay."""
    return {
        "trainer.save_freq": recipe.save_every,
        "trainer.default_local_dir": str(paths.checkpoint_dir),
        # Never `auto`: verl trusts its tracker file, and where the folder that it names is missing starts from scratch.
        "trainer.resume_mode": "resume_path" if paths.resume_from else "disable",
        "trainer.resume_from_path": str(paths.resume_from) if paths.resume_from else None,
        # verl prunes only what it wrote since its own start, and would not know what the callback has moved.
        "trainer.max_actor_ckpt_to_keep": None,
        "trainer.checkpoint_callback_class": "deepscaler.verl_plugin.callback.RunCallback",
        # read by our callback
        "+trainer.keep": recipe.keep,
        "+trainer.keep_every": recipe.keep_every,
        "+trainer.keep_best": recipe.keep_best,
    }


def _ray(recipe: Recipe, paths: RunPaths, device: Device) -> dict[str, Any]:
    """Returns the environment of all workers and, if verl starts Ray itself, a Ray that only this machine can reach."""
    environment: dict[str, Any] = {
        f"+ray_kwargs.ray_init.runtime_env.env_vars.{k}": v for k, v in paths.environment.items()
    }
    # a part of the queue on every node else, also on a head that offers no processor, where it can never start
    environment["+transfer_queue.backend.SimpleStorage.required_node_resource"] = "GPU"
    environment["+ray_kwargs.ray_init.runtime_env.worker_process_setup_hook"] = "deepscaler.verl_plugin.begin.begin"
    environment[f"+ray_kwargs.ray_init.runtime_env.env_vars.{TO_READ_AHEAD}"] = paths.model
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


def num_storage_units(world_size: int, device: Device) -> int:
    """Returns into how many parts verl's queue of data is split: a saved one is loaded with as many only."""
    return 1 if device == "cpu" else min(8, 2 * world_size)


def _on_gpu(recipe: Recipe) -> dict[str, Any]:
    """Returns the kit's engine for GPUs, CUDA graphs of as many sequences as an engine is given, and fewer processes.

    vLLM captures 51 sizes up to 512 unless told otherwise, each at every start. verl starts eight processes of each
    kind for any number of GPUs, and each imports torch and verl first.
    """
    engines = recipe.world_size // recipe.tensor_parallel_size
    most = min(MOST_IN_A_GRAPH, -(-recipe.train_batch_size * recipe.group_size // engines))
    if recipe.asynchronous_rollout:  # a second batch is in flight
        most = min(MOST_IN_A_GRAPH, 2 * most)
    num_workers = num_storage_units(recipe.world_size, "cuda")
    return {
        "actor_rollout_ref.model.external_lib": "deepscaler.verl_plugin.engine",
        "+actor_rollout_ref.model.override_config.attn_implementation": ATTENTION,
        "actor_rollout_ref.rollout.cudagraph_capture_sizes": [1, 2, 4, *range(8, most + 8, 8)],
        "actor_rollout_ref.rollout.agent.num_workers": num_workers,
        "reward.num_workers": num_workers,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": num_workers,
    }


def _on_cpu(recipe: Recipe) -> dict[str, Any]:
    """Returns keys for the plug-in deepscaler.verl_plugin.cpu, float32, and as few processes as verl allows."""
    engine = {
        "strategy": "fsdp2",
        "fsdp_config.use_torch_compile": False,
        "fsdp_config.model_dtype": "fp32",
        "+fsdp_config.mixed_precision.param_dtype": "fp32",
    }
    return {
        **_below("actor_rollout_ref.actor", engine),
        **_below("actor_rollout_ref.ref", engine),
        "actor_rollout_ref.model.external_lib": "deepscaler.verl_plugin.cpu.engine",
        "actor_rollout_ref.model.use_remove_padding": False,
        "actor_rollout_ref.model.use_fused_kernels": True,  # the interface of our forward pass
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        **({"actor_rollout_ref.model.lora.merge": True} if recipe.lora_rank else {}),  # it has no adapters of its own
        "actor_rollout_ref.rollout.name": "transformers",
        "actor_rollout_ref.rollout.router_config_path": str(Path(__file__).parent / "cpu/router.yaml"),
        "+actor_rollout_ref.rollout.custom.num_servers": recipe.world_size // recipe.tensor_parallel_size,
        "actor_rollout_ref.rollout.max_num_seqs": 128,
        "actor_rollout_ref.rollout.agent.num_workers": 1,
        "reward.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }


def _below(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns keys of a table of verl's as whole ones; the `+` of a key that verl lacks stands first."""
    return {f"{'+' if key.startswith('+') else ''}{table}.{key.removeprefix('+')}": values[key] for key in values}


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
    if isinstance(value, dict):  # user_keys flattens all but empty ones
        return "{}"
    return json.dumps(value) if not isinstance(value, float) else repr(value)
