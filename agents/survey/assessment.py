"""Pros and cons of a method as far as its own text states them, by fixed forms of speech.

A policy of last resort, not understanding: it reports what a title or an abstract plainly claims ('training-free',
'requires labelled data') and stays silent otherwise. Claims are the authors', not findings of ours.
"""

import re

from agents.survey.questions import AssessedWork
from core.types.work import Work

_PROS = (
    (r"\b(re|fine-?)?(training|tuning)[- ]free\b|\bwithout (any )?(additional |re)?training\b", "needs no training"),
    (r"\bdata[- ]?(free|less)\b|\bwithout (access to )?(any )?(training |original )?data\b", "needs no data"),
    (r"\bclosed[- ]form\b|\banalytic(al)? solution\b", "has a closed-form solution"),
    (r"\b(memory|storage)[- ]efficient\b|\breduc\w+ (the )?(memory|storage)\b", "saves memory, its authors say"),
    (r"\b(computation\w*|compute|parameter|cost)[- ]efficient\b|\blow[- ]cost\b", "is cheap, its authors say"),
    (r"\bstate[- ]of[- ]the[- ]art\b|\boutperform\w*", "its authors report gains over baselines"),
    (r"\bplug[- ]and[- ]play\b", "is plug-and-play, its authors say"),
    (r"\bscal(es|able|ability)\b", "scales, its authors say"),
    (r"\btheoretical(ly)? (guarantee|analysis|ground)\w*|\bprovabl[ey]\b", "comes with theory"),
)  # fmt: skip
_CONS = (
    (r"\brequir\w+ (\w+ ){0,3}(labell?ed )?data\b|\bvalidation (set|data)\b|\bcalibration data\b", "needs data"),
    (r"\btest[- ]time (adaptation|training|optimi[sz]ation)\b", "works at test time, on the inputs to be predicted"),
    (r"\b(evolutionary|bayesian optimi[sz]ation|search over)\b", "searches, so it costs evaluations"),
    (r"\bdistill\w*", "trains by distillation"),
    (r"\brout(er|ers|ing)\b|\bmixture[- ]of[- ]experts\b", "keeps several experts at inference"),
    (r"\bfisher\b|\bhessian\b|\bcurvature\b", "needs second-order statistics"),
    (r"\blimitation\w*|\bat the cost of\b|\btrade-?off\b", "its authors name limits or trade-offs"),
)  # fmt: skip
_MOST = 3


def assess(work: Work) -> AssessedWork:
    """Return the pros and cons that a work's title and abstract state."""
    text = f"{work.title}. {work.abstract}".lower()
    pros = [what for form, what in _PROS if re.search(form, text)]
    cons = [what for form, what in _CONS if re.search(form, text)]
    return AssessedWork(key=work.key, pros=pros[:_MOST], cons=cons[:_MOST])
