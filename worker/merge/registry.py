"""All methods that this machine can run, by name.

The own ones always; mergekit's where mergekit is installed (a GPU image may lack it: its methods are then refused by
name, the own ones work).
"""

import importlib
import importlib.util
from functools import cache

from core.errors import InvalidInputError, MissingDependencyError
from core.merging import Engine
from core.merging_table import DECLARATIONS, declaration
from worker.merge.method import MergeMethod
from worker.merge.methods import (
    linear,
    ra_adaptive_lora,
    ra_adarank,
    ra_calm,
    ra_camex,
    ra_dare,
    ra_dawin,
    ra_df,
    ra_evolutionary,
    ra_hi,
    ra_lori,
    ra_mass,
    ra_metagpt,
    ra_phatgoose,
    ra_regmean,
    ra_sens,
    ra_star,
    ra_surgery,
    ra_symerge,
    ra_ties,
    ra_tvq,
    task_arithmetic,
    ties,
)

OWN: dict[str, MergeMethod] = {
    m.name: m
    for m in (
        linear.METHOD,
        ra_adaptive_lora.METHOD,
        ra_adarank.METHOD,
        ra_calm.METHOD,
        ra_camex.METHOD,
        ra_dare.LINEAR,
        ra_dare.TIES,
        ra_dawin.METHOD,
        ra_df.METHOD,
        ra_evolutionary.METHOD,
        ra_hi.METHOD,
        ra_lori.METHOD,
        ra_mass.METHOD,
        ra_metagpt.METHOD,
        ra_phatgoose.METHOD,
        ra_regmean.REGMEAN,
        ra_regmean.REGMEAN_PP,
        ra_sens.METHOD,
        ra_star.METHOD,
        ra_surgery.SURGERY,
        ra_surgery.SURGERY_V2,
        ra_symerge.METHOD,
        ra_ties.METHOD,
        ra_tvq.TVQ,
        ra_tvq.RTVQ,
        task_arithmetic.METHOD,
        ties.METHOD,
    )
}


def has_mergekit() -> bool:
    """Return whether mergekit can be imported here."""
    return importlib.util.find_spec("mergekit") is not None


@cache
def method(name: str) -> MergeMethod:
    """Return a runnable method.

    Raise NotFoundError for an unknown name, InvalidInputError for one that does not apply to generative models,
    MissingDependencyError for one of mergekit's where that is not installed.
    """
    entry = declaration(name)
    if not entry.runnable:
        raise InvalidInputError(f"{entry.title} is not applicable: {entry.difference}")
    if entry.engine is Engine.OWN:
        return OWN[name]
    if not has_mergekit():
        raise MissingDependencyError(f"{entry.title} is mergekit's.", fix="Install mergekit >= 0.1.4.")
    found: MergeMethod = importlib.import_module("worker.merge.mergekit_engine").mergekit_method(name)
    return found


def runnable_names() -> tuple[str, ...]:
    """Return the names of all methods that can be run on this machine."""
    return tuple(n for n, d in DECLARATIONS.items() if d.runnable and (d.engine is Engine.OWN or has_mergekit()))
