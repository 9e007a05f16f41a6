"""The texts of a survey in Chinese: fixed ones by table, sentences with values in them by pattern."""

import re
from functools import lru_cache

_TABLE = {
    # the report
    "Survey": "文献调研", "What the works do": "各类工作概述", "Flow of numbers": "筛选流程", "Taxonomy": "分类体系",
    "Timeline": "时间线", "How complete this is": "完整程度", "Borderline": "边缘文献", "What was asked": "检索记录",
    "works": "文献数", "work": "文献", "year": "年份", "for": "优点", "against": "缺点", "code": "代码",
    "method": "方法", "why here": "归类依据", "category": "类别", "also here": "兼属", "with code": "有代码",
    "what belongs here": "包含内容", "no year": "年份不详", "archived": "已归档", "exists": "存在", "moved": "已迁移",
    "gone": "已失效", "unchecked": "未核查", "source": "来源", "questions": "提问数", "failed": "失败", "found": "找到",
    "new": "新增", "kept": "保留", "dropped": "剔除", "query": "查询", "page": "页", "note": "备注", "cache": "缓存",
    "rest": "其余", "1 work": "1 篇", "{n} works": "{n} 篇", "{n} with code": "其中 {n} 篇有代码", "none": "无",
    "last commit {date}": "最近提交 {date}", "{n} rows": "{n} 条记录", "{n} stars": "{n} 星标", "official": "官方",
    "{name} ({works}{span}): {what}.": "{name}（{works}{span}）：{what}。",
    ", from {first} to {last}": "，{first} 至 {last} 年",
    ", of {first}": "，{first} 年", " The most relevant: {examples}.": "最相关的有：{examples}。",
    "{found} distinct works were found; {kept} are in scope, {borderline} borderline, {dropped} dropped.":
        "共找到 {found} 篇不同的文献：{kept} 篇在范围内，{borderline} 篇处于边缘，{dropped} 篇被剔除。",
    "Stopped because {reason}.": "停止原因：{reason}。",
    "Decided by the language model {model}.": "由语言模型 {model} 判定。",
    "Decided by deterministic policies; no language model was used.": "由确定性策略判定，未使用语言模型。",
    "Questions that were not answered:": "未得到回答的提问：",
    "Each question, with what became of its works, is a row of ledger.csv.":
        "每一次提问及其所得文献的去向，见 ledger.csv 中的一行。",
    "Records identified": "检出记录", "Merged as duplicates": "合并重复", "Distinct works screened": "筛选的不同文献",
    "Distinct works": "不同文献", "Screened": "已筛选", "Dropped": "剔除", "In scope": "在范围内",
    "Flow of records from the sources to the works in scope": "从各来源的记录到范围内文献的流程",
    "Works by category": "各类别文献数", "Works by year and category": "各年份与类别的文献数",
    # sources
    "curated lists": "精选列表", "seed works": "种子文献", "local catalogue": "本地目录", "model hub": "模型中心",
    "embeddings": "句向量", "target sizes": "目标规模",
    # why a work is in scope
    "its title names the topic": "标题点明主题", "its abstract names the topic": "摘要点明主题",
    "worded like in-scope works": "措辞与范围内文献相近", "the user named it": "由用户指定",
    "close in meaning to in-scope works": "语义与范围内文献相近", "nothing ties it to the topic": "与主题没有联系",
    # why a work is in a category
    "it is a survey": "本文是综述", "no evidence for any category": "没有归入任何类别的依据",
    "worded like works that show it": "措辞与该类文献相近",
    # why the search stopped
    "all queries were answered, and no source of citations was asked for": "所有查询均已得到回答，且未使用引文来源",
    "every in-scope work was expanded": "所有范围内文献均已展开", "the request budget was used up": "请求预算已用完",
    # how complete it is
    "No estimate": "无法估计", "Too few works or occasions to estimate from.": "文献或捕获次数太少，无法估计。",
    "Sources depend on each other (what one knows, others tend to know), so the population is likely larger and "
    "coverage likely lower than estimated: read it as an upper bound.":
        "各来源并不独立（一个来源收录的，其他来源往往也收录），因此总体很可能更大、覆盖率很可能更低：应将其视为上界。",
    # categories
    "Weighted merging": "加权合并", "Subspace merging": "子空间合并",
    "Routing-based (dynamic) merging": "基于路由的（动态）合并", "Post-calibration": "合并后校准", "Surveys": "综述",
    "Other": "其他",
    "chooses the coefficients with which parameters are averaged: per task, layer or parameter, by statistics, search "
    "or learning": "选择参数平均的系数：按任务、层或参数，用统计、搜索或学习得到",
    "merges in a sparse or low-rank part of the parameters, so that tasks interfere less: pruning, masking, "
    "projection, decomposition, adapters":
        "在参数的稀疏或低秩部分中合并以减少任务间干扰：剪枝、掩码、投影、分解、适配器",
    "decides at inference, by the input, which experts or coefficients are used":
        "推理时根据输入决定使用哪些专家或系数",
    "repairs a merged model after merging: representation bias, heads, statistics":
        "在合并之后修复模型：表示偏差、分类头、统计量",
    "surveys and reviews of the topic": "该主题的综述与评论",
    "in scope, and in no category with enough evidence": "在范围内，但归入任何类别的依据都不足",
    "one model at inference, no extra cost": "推理时只有一个模型，没有额外开销",
    "coefficients must be estimated or searched, often on data": "系数需要估计或搜索，往往要用数据",
    "less interference between tasks": "任务间干扰更少", "task vectors become small to store": "任务向量占用存储少",
    "rank, density or thresholds must be chosen": "需要选定秩、密度或阈值",
    "each input gets the experts that suit it": "每个输入都由适合它的专家处理",
    "several experts stay in memory": "多个专家常驻内存", "extra work at inference": "推理时有额外计算",
    "recovers accuracy that merging lost": "恢复合并所损失的精度",
    "needs data and a training step after merging": "合并后需要数据和一步训练",
    "corrections may be per task": "校正可能因任务而异",
    # what speaks for and against a work
    "needs no training": "无需训练", "needs no data": "无需数据", "has a closed-form solution": "有闭式解",
    "saves memory, its authors say": "作者称节省内存", "is cheap, its authors say": "作者称开销小",
    "its authors report gains over baselines": "作者报告优于基线",
    "is plug-and-play, its authors say": "作者称即插即用",
    "scales, its authors say": "作者称可扩展", "comes with theory": "有理论支持", "needs data": "需要数据",
    "works at test time, on the inputs to be predicted": "在测试时作用于待预测的输入",
    "searches, so it costs evaluations": "需要搜索，因而消耗评测", "trains by distillation": "通过蒸馏训练",
    "keeps several experts at inference": "推理时保留多个专家", "needs second-order statistics": "需要二阶统计量",
    "its authors name limits or trade-offs": "作者指出局限或取舍",
}  # fmt: skip
_PATTERNS = tuple(
    (re.compile(pattern, re.DOTALL), put)
    for pattern, put in (
        (r"listed in (.+)", r"列于 \1"),
        (r"(\d+) in-scope works cite it", r"被 \1 篇范围内文献引用"),
        (r"(\d+%) of its references are in scope", r"其参考文献中 \1 在范围内"),
        (r"it cites (\d+) in-scope works", r"引用了 \1 篇范围内文献"),
        (r"holds the excluded term “(.+)”", r"含有被排除的术语“\1”"),
        (r"of (\d+), outside (\d+)-(\d+)", r"\1 年，不在 \2 至 \3 年之间"),
        (r"its source says “(.+)”", r"其来源称“\1”"),
        (r"(\S+) lists it under “(.+)”", r"\1 将其列于“\2”之下"),
        (r"its wording: (.+)", r"措辞：\1"),
        (r"most like “(.+)” among the works known to be there", r"在已知属于该类的文献中与“\1”最相近"),
        (r"works that lists put under “(.+)”", r"精选列表归入“\1”之下的文献"),
        (r"works worded around (.+)", r"围绕 \1 的文献"),
        (r"(\d+) rounds in a row each added under (\S+) in-scope works", r"连续 \1 轮每轮新增的范围内文献都不足 \2"),
        (r"the limit of (\d+) rounds was reached", r"达到 \1 轮的上限"),
        (
            r"Capture-recapture over (\d+) works: (.+); found, not kept and yet likely in scope: (\d+)",
            r"基于 \1 篇文献的捕获—再捕获估计：\2；已找到、未保留但很可能在范围内：\3 篇",
        ),
        (r"Coverage (\S+) to (\S+)\. (Sources depend.+?\.)(?: (With.+))?", r"覆盖率 \1 至 \2。<\3><\4>"),
        (
            r"With the references of “(.+)” hidden, (\d+) of its (\d+) in-scope references were found otherwise "
            r"\((\S+), 95 % Wilson interval (\S+) to (\S+)\)\.",
            r"隐去“\1”的参考文献后，其 \3 篇范围内参考文献中有 \2 篇由其他途径找到（\4，95 % Wilson 区间 \5 至 \6）。",
        ),
        (r"Typical, for: (.+); against: (.+)\.", r"通常的优点：<\1>；缺点：<\2>。"),
        (r"(Too few works or occasions to estimate from\.) (With.+)", r"<\1><\2>"),
    )
)
_NESTED = re.compile(r"<([^<>]*)>")


@lru_cache(maxsize=4096)
def to_chinese(text: str) -> str:
    """Return a text of ours in Chinese; what is not ours comes back as it is."""
    if text in _TABLE:
        return _TABLE[text]
    for pattern, put in _PATTERNS:
        found = pattern.fullmatch(text)
        if found:
            return _NESTED.sub(lambda m: to_chinese(m.group(1)) if m.group(1) else "", _filled(found, put))
    for blank, mark in (("; ", "；"), (", ", "，")):
        parts = text.split(blank)
        if len(parts) > 1 and any(to_chinese(p) != p for p in parts):
            return mark.join(map(to_chinese, parts))
    return text


def _filled(found: re.Match[str], put: str) -> str:
    # Angle brackets mark what is translated in turn: a value's own must not be taken for one.
    values = [(g or "").replace("<", "‹").replace(">", "›") for g in found.groups()]
    return re.sub(r"\\(\d)", lambda m: values[int(m.group(1)) - 1], put)
