"""The model card: results with intervals, how the model was made, its parents and licenses, what was not shown."""

from agents.report.content import ReportInput, interval, percent, point_interval, points, short_id
from agents.report.render import escape_markdown
from core.errors import ConflictError


def model_card(report: ReportInput) -> str:
    """Return the model card: results with intervals, how it was made, licenses, and what was not shown."""
    models, winner = report.sow.models, report.winner
    if models is None or winner is None or report.recipe is None:
        raise ConflictError("A model card needs a merge task with a winner that has a recipe.")
    known = sorted({m.licence for m in (models.base, *models.experts) if m.licence})
    head = [
        "---",
        f"license: {known[0].lower() if len(known) == 1 else 'other'}",
        "library_name: transformers",
        "tags: [merge, mergekit]",
        "---",
        "",
        f"# {escape_markdown(report.sow.title)}",
        "",
        f"A merge of {len(models.experts)} experts on {escape_markdown(models.base.model)} by the method "
        f"`{winner.candidate.recipe.method if winner.candidate.recipe else 'unknown'}`.",
        "",
    ]
    return "\n".join([*head, *_results(report), *_parents(report), *_recipe(report)]) + "\n"


def _results(report: ReportInput) -> list[str]:
    winner, board, confirmation = report.winner, report.board, report.confirmation
    if winner is None or board is None:
        return []
    refs = " ".join(f"E:{short_id(i)}" for i in winner.evaluation_ids)
    lines = ["## Results", "", "| Slice | Score | 95 % interval | Items |", "| --- | ---: | ---: | ---: |"]
    scores = {"all": winner.score, **(winner.skills if len(winner.skills) > 1 else {})}
    lines += [
        f"| {escape_markdown(name)} ({board.role}) | {percent(s.value)} | {interval(s)} | {s.items} |"
        for name, s in scores.items()
    ]
    lines += ["", f"Evaluations: {refs or 'none'}.", ""]
    for c in confirmation.comparisons if confirmation else ():
        if c.candidate_id == winner.candidate.id:
            name = escape_markdown(report.names.get(c.reference_id, c.reference_id))
            lines.append(
                f"Against {name}: {points(c.difference.value)} points ({point_interval(c.difference)}), {c.verdict}."
            )
    if confirmation is None or not confirmation.improved:
        lines.append("No improvement over the best reference was confirmed.")
    return [*lines, ""]


def _parents(report: ReportInput) -> list[str]:
    models = report.sow.models
    if models is None:
        return []
    rows = [
        f"| {escape_markdown(m.name)} | {escape_markdown(m.model)} | {escape_markdown(m.licence or 'unknown')} |"
        for m in (models.base, *models.experts)
    ]
    return ["## Parents and their licenses", "", "| Name | Model | License |", "| --- | --- | --- |", *rows, ""]


def _recipe(report: ReportInput) -> list[str]:
    text = report.recipe.to_yaml() if report.recipe else ""
    return ["## Recipe", "", "`mergekit-yaml recipe.yaml out/` gives this model.", "", "```yaml", text.strip(), "```"]
