"""Copies a model's files for publishing and opens the copy as a user would: tensor by tensor, and a chat rendered."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json

INDEX = "model.safetensors.index.json"
PATTERNS = (
    *("*.safetensors", INDEX, "config.json", "generation_config.json", "lora_adapter/adapter_*"),
    *(
        "tokenizer*.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.*",
        "additional_chat_templates/*",
    ),
    *("vocab.*", "merges.txt", "*.model", "LICENSE*", "NOTICE*"),
)
"""Files of a model's folder that are published; everything else stays behind."""

OWN_PATHS = ("_name_or_path", "name_or_path", "base_model_name_or_path", "tokenizer_file")
"""Keys in which transformers and peft write the path that a model was loaded from."""

CHAT = [{"role": "user", "content": "What is 2 + 3? Put it into \\boxed{}."}]


def copy_model(source: Path, target: Path) -> None:
    """Copies what belongs to a model, without the paths that it was loaded from. Raises UserError for other weights."""
    if not (source / "config.json").is_file() or not any(source.glob("*.safetensors")):
        raise UserError(f"{source} is not a model in safetensors: it needs config.json and *.safetensors")
    for file in sorted({file for pattern in PATTERNS for file in source.glob(pattern)}):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    for name in ("config.json", "tokenizer_config.json", "generation_config.json", "lora_adapter/adapter_config.json"):
        if (target / name).is_file():
            values = read_json(target / name)
            if any(key in values for key in OWN_PATHS):
                write_json(target / name, {key: value for key, value in values.items() if key not in OWN_PATHS})


def compare_model(source: Path, copy: Path) -> tuple[int, int, str]:
    """Returns the number of tensors and parameters and the type of a copy that is equal to its source.

    Every tensor is read again from both and compared by its bytes; the shards must hold what their index says, and
    the model of config.json must find all that it needs. Raises UserError.
    """
    import torch  # noqa: PLC0415  seconds of import

    places = _tensor_files(copy)
    num_parameters, types, shapes = 0, set(), {}
    theirs = _tensor_files(source)
    if places.keys() != theirs.keys():
        raise UserError(f"the copy of {source} has other tensors: {sorted(places.keys() ^ theirs.keys())[:3]}")
    for (name, left), (_, right) in zip(_tensors(source, theirs), _tensors(copy, places), strict=True):
        same = left.dtype == right.dtype and left.shape == right.shape
        if not same or not torch.equal(_bytes(left, torch), _bytes(right, torch)):
            raise UserError(f"the copy of {source} differs from it in {name}")
        num_parameters += right.numel()
        types.add(str(right.dtype).removeprefix("torch."))
        shapes[name] = tuple(right.shape)
    _check_architecture(copy, shapes)
    return len(places), num_parameters, " and ".join(sorted(types))


def compare_chat(source: Path, copy: Path) -> None:
    """Raises UserError unless the copy's template renders a chat as the source's does, in text and in tokens."""
    from transformers import AutoTokenizer  # noqa: PLC0415  seconds of import

    rendered = []
    for folder in (source, copy):
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
            tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        except Exception as error:  # transformers raises anything on broken files
            raise UserError(
                f"the tokenizer of {folder} renders no chat: {' '.join(str(error).split())[:200]}"
            ) from error
        rendered.append((text, tokens, tokenizer.eos_token))
    if rendered[0] != rendered[1]:
        raise UserError(f"the tokenizer of the copy of {source} renders a chat differently from its source")


def _tensor_files(folder: Path) -> dict[str, Path]:
    """Returns the file of each tensor. Raises UserError if shards and their index contradict each other."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as opened:
                names = list(opened.keys())
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is not a whole safetensors file: {error}") from error
        for name in names:
            if name in found:
                raise UserError(f"{folder} holds {name} twice, in {found[name].name} and {file.name}")
            found[name] = file
    if (folder / INDEX).is_file():
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / INDEX} is not an index of shards ({error!r}): merge the model again") from error
        # transformers reads what the index names: a tensor that it lacks would be initialized at random, with a
        # warning alone.
        if index != {name: file.name for name, file in found.items()}:
            raise UserError(f"{folder / INDEX} and the shards beside it hold other tensors: merge the model again")
    elif len(set(found.values())) > 1:
        raise UserError(f"{folder} holds several safetensors files and no {INDEX}: nobody could load them")
    return found


def _tensors(folder: Path, places: dict[str, Path]) -> Iterator[tuple[str, Any]]:
    """Yields every tensor by name, one at a time in memory."""
    from safetensors import safe_open  # noqa: PLC0415

    for name in sorted(places):
        with safe_open(places[name], framework="pt") as opened:
            yield name, opened.get_tensor(name)


def _bytes(tensor: Any, torch: Any) -> Any:
    # As bytes, because NaN does not equal itself and -0.0 equals 0.0. Flat first: torch views no scalar as a
    # smaller type.
    return tensor.contiguous().view(-1).view(torch.uint8)


def _check_architecture(folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Has transformers build the model without memory, and compares the names and shapes of its weights."""
    import torch  # noqa: PLC0415
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    except Exception as error:  # transformers raises anything on broken files
        raise UserError(f"transformers builds no model of {folder / 'config.json'}: {str(error)[:200]}") from error
    # A tied weight is in the file once, under one of its names. transformers 5 lists the others in
    # all_tied_weights_keys, version 4 in _tied_weights_keys.
    tied = set(getattr(model, "all_tied_weights_keys", None) or getattr(model, "_tied_weights_keys", None) or ())
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    missing = [name for name in wanted if name not in shapes and name not in tied]
    wrong = [name for name, shape in wanted.items() if shapes.get(name, shape) != shape]
    unknown = [name for name in shapes if name not in wanted]
    if missing or wrong or unknown:
        raise UserError(f"the weights of {folder} are not those of its config.json: {[*missing, *wrong, *unknown][:3]}")
