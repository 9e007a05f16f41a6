"""The README of an exported model: what it was made of, how, and how to make it again."""

from pathlib import Path

from core.merging import Engine
from worker.merge.bank import BASE, ExpertBank
from worker.merge.plan import MergePlan

_CARD = """---
library_name: transformers
tags:
- merge
- {method}
---
# {name}

A merge of {experts} on `{base}`, by **{title}**{paper}.

| input | model |
|---|---|
{rows}

Fidelity to the paper: **{fidelity}**{difference}

## Make it again

```yaml
{recipe}```

{command}
"""


def model_card(plan: MergePlan, bank: ExpertBank, recipe: str, name: str) -> str:
    """Return the model card as Markdown with the metadata block that hubs read."""
    entry = plan.method.declaration
    experts = [f"`{Path(str(bank.references[e])).name}`" for e in plan.inputs if e != BASE]
    own = entry.engine is Engine.OWN and entry.name.startswith("ra_")
    program = "python -m worker.merge.mergekit_cli" if own else "mergekit-yaml"
    seed = f" --random-seed {int(plan.shared.get('seed', 0))}" if entry.random and not own else ""
    arxiv = f"[arXiv {entry.arxiv_id}](https://arxiv.org/abs/{entry.arxiv_id})"
    paper = f" ({arxiv})" if entry.arxiv_id else ""
    lora = " --lora-merge-cache CACHE" if any(r.adapter for r in bank.references.values()) else ""
    return _CARD.format(
        method=entry.name, name=name, experts=", ".join(experts), base=Path(bank.references[BASE].path).name,
        title=entry.title, paper=paper,
        rows="\n".join(f"| {n} | `{bank.references[n]}` |" for n in dict.fromkeys((BASE, *plan.inputs))),
        fidelity=entry.fidelity, difference=f". {entry.difference}" if entry.difference else ".",
        recipe=recipe, command=f"`{program} mergekit_config.yml OUT{seed}{lora}`",
    )  # fmt: skip
