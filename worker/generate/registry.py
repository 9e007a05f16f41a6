"""The engines there are. An engine's module is imported only when it is chosen: vLLM need not be installed."""

import importlib
from pathlib import Path

from core.errors import MissingDependencyError, NotFoundError
from worker.generate.port import Engine, EngineOptions

ENGINES = {
    "transformers": "worker.generate.transformers_engine:TransformersEngine",
    "vllm": "worker.generate.vllm_engine:VllmEngine",
}


def load_engine(name: str, path: str | Path, options: EngineOptions = EngineOptions()) -> Engine:  # noqa: B008
    """Load a checkpoint into an engine.

    Raises:
        NotFoundError: no engine of this name.
        MissingDependencyError: its library is not installed.
        InvalidInputError: the checkpoint can't be loaded.
    """
    if name not in ENGINES:
        raise NotFoundError(f"There is no engine {name!r}.", fix=f"Engines: {', '.join(ENGINES)}.")
    module, _, attribute = ENGINES[name].partition(":")
    try:
        engine = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"The {name} engine needs the package {error.name}.", fix=f"Install it, or choose {next(iter(ENGINES))}."
        ) from error
    loaded: Engine = engine.load(path, options)
    return loaded
