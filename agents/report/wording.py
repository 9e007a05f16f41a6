"""Every word of the report that is not data, in English and in Chinese."""

from typing import Literal

from agents.report.reproduction_words import REPRODUCTION_WORDS
from agents.report.survey_words import SURVEY_WORDS

Language = Literal["en", "zh"]

WORDS: dict[str, tuple[str, str]] = {
    **REPRODUCTION_WORDS,
    **SURVEY_WORDS,
    # frame
    "report": ("Research report", "研究报告"),
    "contents": ("Contents", "目录"),
    "run": ("Run {id}", "运行 {id}"),
    "figure": ("Figure", "图"),
    "table": ("Table", "表"),
    "data": ("data", "数据"),
    "evidence_label": ("Evaluation", "评测"),
    # verdicts
    "improved": ("A confirmed improvement", "已确认的提升"),
    "tied": ("Tied: no improvement could be shown", "持平：未能证明有提升"),
    "worse": ("Not an improvement", "没有提升"),
    "unconfirmed": ("Not confirmed", "未经确认"),
    "improved_text": (
        "{winner} is better than {references} on items that the search never saw.",
        "在搜索从未见过的题目上，{winner} 优于 {references}。",
    ),
    "tied_text": (
        "On items that the search never saw, {winner} can't be told from {references}.",
        "在搜索从未见过的题目上，{winner} 与 {references} 无法区分。",
    ),
    "worse_text": (
        "The finalists did not hold up on items that the search never saw; {winner} is the better choice.",
        "入围方案在搜索从未见过的题目上未能保持优势；{winner} 是更好的选择。",
    ),
    "unconfirmed_text": (
        "{winner} leads the {role} leaderboard, but was not measured on fresh items. Its score is the best of "
        "{count} candidates and so looks better than it is.",
        "{winner} 在{role}排行榜上领先，但没有在新的题目上测量。它是 {count} 个候选中最好的，分数因此偏高。",
    ),
    "no_result": ("Nothing could be evaluated, so there is no result.", "没有任何方案可以评测，因此没有结果。"),
    "difference_to": ("{points} points against {name} ({interval})", "相对 {name}：{points} 个百分点（{interval}）"),
    "confirmed_row": (
        "{words} Holm-adjusted p = {p}, {test}.",
        "{words} Holm 校正 p = {p}，{test}。",
    ),
    "better": ("better", "更好"),
    "same": ("tied", "持平"),
    "lower": ("worse", "更差"),
    # facts
    "score": ("Score", "得分"),
    "score_note": ("95 % interval {interval}", "95 % 区间 {interval}"),
    "gain": ("Gain", "提升"),
    "gain_note": ("points over {name}; {interval}", "个百分点，相对 {name}；{interval}"),
    "trials": ("Trials", "试验"),
    "trials_note": ("{items} item evaluations", "{items} 次题目评测"),
    "time": ("Compute", "计算"),
    "time_note": ("worker time; {wall} wall-clock", "计算时间；总历时 {wall}"),
    "llm": ("Language model", "语言模型"),
    "no_llm": ("none", "无"),
    "no_llm_note": ("no language model was used", "没有使用语言模型"),
    "llm_note": ("${usd}, {tokens} tokens", "{usd} 美元，{tokens} 个词元"),
    # task
    "task": ("What was asked", "任务"),
    "models": ("Models", "模型"),
    "model": ("Model", "模型"),
    "role": ("Role", "用途"),
    "base": ("base", "基座"),
    "expert": ("expert", "专家"),
    "license": ("License", "许可证"),
    "source": ("Source", "来源"),
    "benchmark": ("Benchmark", "基准"),
    "benchmarks_caption": (
        "The benchmark slices and what each may decide. Search slices steer the optimizer, screen slices rank the "
        "methods, confirm slices were untouched until the end.",
        "基准切片及其用途：search 引导优化，screen 给方法排名，confirm 直到最后才使用。",
    ),
    "models_caption": ("The models of the task.", "任务中的模型。"),
    "protocol": ("Protocol", "协议"),
    "metric": ("Metric", "指标"),
    "sampling": ("Sampling", "采样"),
    "weight": ("Weight", "权重"),
    # result
    "result": ("Result", "结果"),
    "show_caption": (
        "Shown beside the rest: these benchmarks decided nothing.",
        "仅供参考：这些基准不参与任何决定。",
    ),
    "confirm_caption": (
        "Confirmation: full protocol, fresh seeds, items that nothing was chosen by. Differences are paired by item, "
        "against the first row.",
        "确认：完整协议、新的随机种子、从未用于选择的题目。差值按题目配对，与第一行比较。",
    ),
    "comparisons_caption": (
        "Finalists against references. The p-values are adjusted by Holm over all rows.",
        "入围方案与参照的比较；p 值经 Holm 校正。",
    ),
    "finalist": ("Finalist", "入围方案"),
    "reference": ("Reference", "参照"),
    "difference": ("Difference", "差值"),
    "p": ("Adjusted p", "校正 p"),
    "verdict": ("Verdict", "结论"),
    # screen
    "tried": ("What was tried", "尝试了什么"),
    "rank": ("Rank", "名次"),
    "group": ("Tie group", "并列组"),
    "candidate": ("Candidate", "候选"),
    "interval": ("95 % interval", "95 % 区间"),
    "to_leader": ("To the leader", "与首位之差"),
    "seconds": ("Seconds", "秒"),
    "seeds": ("Seeds", "种子数"),
    "seeds_note": ("Why no more seeds", "未用更多种子的原因"),
    "screen_caption": (
        "All candidates on the screening slices. All below a tie group are worse than its best, beyond chance.",
        "筛选切片上的全部候选。并列组之下的候选都显著差于该组最好者。",
    ),
    "forest_caption": (
        "Scores with 95 % intervals. Squares are baselines, circles methods, diamonds trials of the optimizer.",
        "得分与 95 % 区间。方块为基线，圆点为方法，菱形为优化器的试验。",
    ),
    "pareto_caption": (
        "Quality against the cost of one evaluation. Named candidates are not beaten in both at once.",
        "质量与单次评测成本。标出名字的候选在两方面都没有被同时超过。",
    ),
    "skills_caption": ("Scores by skill, with 95 % intervals.", "各项能力的得分与 95 % 区间。"),
    "noise": (
        "Noise floor: two runs of the same candidate with other seeds differ by less than {value} points in 95 % of "
        "cases. Smaller differences mean nothing.",
        "噪声下限：同一候选换随机种子后，95 % 的情况下相差不到 {value} 个百分点；更小的差异没有意义。",
    ),
    "score_axis": ("score, %", "得分 %"),
    "seconds_axis": ("seconds for one evaluation", "单次评测秒数"),
    "baseline": ("baseline", "基线"),
    "method": ("method", "方法"),
    "reproduction": ("reproduction", "复现"),
    "trial": ("trial", "试验"),
    "trial_column": ("Trial", "试验"),
    "method_column": ("Method", "方法"),
    "summary_tried": (
        "{methods} methods and {baselines} baselines were screened on {items} items; {leader} led with {score}{tied}.",
        "用 {items} 道题筛选了 {methods} 种方法和 {baselines} 个基线；{leader} 以 {score} 领先{tied}。",
    ),
    "summary_tied": (", tied with {count} others", "，与另外 {count} 个并列"),
    "summary_searched": (
        "A search of {count} trials took the score on the search items from {start} to {best}.",
        "随后的 {count} 次试验把搜索题目上的得分从 {start} 提高到 {best}。",
    ),
    # search
    "search": ("The search", "搜索过程"),
    "search_text": (
        "{count} trials by {strategy}: {complete} measured on all {items} search items, {dropped} dropped early by the "
        "sequential test, {failed} failed. Racing saved {saved} of the item evaluations that full trials would take.",
        "用 {strategy} 做了 {count} 次试验：{complete} 次测完全部 {items} 道搜索题，{dropped} 次被序贯检验提前淘汰，"
        "{failed} 次失败。竞速比完整试验节省了 {saved} 的题目评测。",
    ),
    "search_gain": (
        "On the search items the best score rose from {start} to {best}.",
        "在搜索题目上，最好得分从 {start} 升到 {best}。",
    ),
    "optimism": (
        "Having been chosen as the best of several, that score looks about {value} points too good.",
        "由于是从多个方案里挑出的最好者，这个分数大约偏高 {value} 个百分点。",
    ),
    "refused": ("Proposals refused: {counts}.", "被拒绝的提议：{counts}。"),
    "history_caption": (
        "The search: filled marks were measured in full, hollow ones were dropped (their value is an estimate). The "
        "dashed lines are what had to be beaten.",
        "搜索历史：实心点为完整测量，空心点为提前淘汰（数值为估计）。虚线为需要超过的水平。",
    ),
    "importance_caption": (
        "Which parameters mattered: shares of the variance among good trials (PED-ANOVA).",
        "参数重要性：在较好试验中的方差占比（PED-ANOVA）。",
    ),
    "importance_axis": ("share, %", "占比 %"),
    "trials_caption": ("The best fully measured trials.", "完整测量的最好试验。"),
    "parameters": ("Parameters", "参数"),
    "start": ("start", "起点"),
    "best_so_far": ("best so far", "目前最好"),
    "gaps": (" {gaps}.", "{gaps}。"),
    "gap_separator": ("; ", "；"),
    "warm_start": ("warm start", "初始点"),
    "command_search_text": (
        "{count} trials by {strategy}, {failed} failed. The best {metric} in the search went from {start} to {best}; "
        "the raw best of several is partly luck, which confirmation takes out.",
        "用 {strategy} 做了 {count} 次试验，{failed} 次失败。搜索中最好的 {metric} 从 {start} 变为 {best}；"
        "多次试验中的最好值含有运气成分，由确认环节剔除。",
    ),
    "complete": ("in full", "完整"),
    "dropped": ("dropped", "淘汰"),
    "repeated": ("repeated", "重复"),
    # recipe
    "recipe": ("The recipe", "配方"),
    "recipe_caption": ("mergekit YAML of {name}: “mergekit-yaml recipe.yaml out/” gives this model.",
                       "{name} 的 mergekit 配置：用 “mergekit-yaml recipe.yaml out/” 可得到该模型。"),
    "exported": (
        "The model is exported: {count} files under “model/” of this run’s files, checksum {checksum}. {more}",
        "模型已导出：本次运行文件的 “model/” 下共 {count} 个文件，校验和 {checksum}。{more}",
    ),
    "methods": ("Methods", "方法"),
    "why": ("What differs, or why not", "差异或原因"),
    "methods_caption": ("Every built-in method on this task.", "本任务中的全部内置方法。"),
    "uploaded": ("It lies at {address}.", "已上传至 {address}。"),
    "not_exported": ("The model is not exported: {reasons}.", "模型未导出：{reasons}。"),
    # cost, next, reading, evidence
    "cost": ("What it cost", "成本"),
    "quantity": ("Quantity", "项目"),
    "used": ("Used", "用量"),
    "limit": ("Limit", "上限"),
    "wall": ("Wall-clock", "总历时"),
    "gpu": ("GPU time", "GPU 时间"),
    "usd": ("Language model, US$", "语言模型（美元）"),
    "tokens": ("Tokens", "词元"),
    "next": ("What to try next", "下一步"),
    "next_more_items": (
        "Confirm on more items: telling a gain of {gain} points from chance at this spread takes about {items}.",
        "用更多题目确认：在目前的离散程度下，要把 {gain} 个百分点的提升与偶然区分开，大约需要 {items} 道题。",
    ),
    "next_confirm": (
        "Add a benchmark with role “confirm”, so that the result can be confirmed.",
        "增加一个用途为 “confirm” 的基准，以便确认结果。",
    ),
    "next_search": (
        "Add a benchmark with role “search”, so that the leader can be improved.",
        "增加一个用途为 “search” 的基准，以便继续优化。",
    ),
    "next_trials": (
        "The best trial came late (trial {number} of {count}): more trials may still pay.",
        "最好的试验出现得较晚（第 {number} 次，共 {count} 次）：继续搜索可能仍有收获。",
    ),
    "next_edge": (
        "The best value of {names} lies at the edge of its range: widen it.",
        "{names} 的最优值落在取值范围的边缘：应放宽范围。",
    ),
    "next_not_built": (
        "Works without a built-in method: {count}. Reproduce the most relevant from their repositories.",
        "{count} 篇文献的方法未内置；可从其代码仓库复现最相关的几篇。",
    ),
    "next_tied": (
        "Methods tied with the leader: {count}. Choose among them by cost, or screen on more items.",
        "{count} 种方法与首位持平：可按成本选择，或用更多题目筛选。",
    ),
    "next_nothing": ("Nothing in the data asks for a next step.", "数据没有指出明确的下一步。"),
    "reading": ("How to read the numbers", "如何阅读这些数字"),
    "reading_1": (
        "Intervals resample items within each benchmark (BCa bootstrap); with one sample an item they are Wilson's.",
        "区间由在各基准内重抽样题目得到（BCa 自助法）；每题一个样本时用 Wilson 区间。",
    ),
    "reading_2": (
        "Differences are paired by item. One sample an item is tested by exact McNemar, otherwise by flipping signs.",
        "差值按题目配对；每题一个样本时用精确 McNemar 检验，否则用符号翻转检验。",
    ),
    "reading_3": (
        "A trial is dropped when a test that may be read at any time shows that it trails, at a stated error.",
        "当可随时查看的序贯检验在给定错误率下表明试验落后时，该试验被淘汰。",
    ),
    "reading_4": (
        "Marks such as [E:abcd1234] name the evaluation that a number comes from; all are listed below.",
        "[E:abcd1234] 这样的标记指明数字来自哪次评测；全部列在下方。",
    ),
    "evidence": ("Evidence", "评测依据"),
    "evidence_caption": ("The evaluations cited in this report.", "本报告引用的评测。"),
    "items": ("Items", "题数"),
    "id": ("Id", "编号"),
    "environment": ("Environment", "运行环境"),
    "name": ("Name", "名称"),
    "value": ("Value", "值"),
}  # fmt: skip


class Say:
    """Words in one language."""

    def __init__(self, language: Language) -> None:
        self._place = 0 if language == "en" else 1
        self._comma = ", " if language == "en" else "、"

    def __call__(self, key: str, **values: object) -> str:
        """Return the words under a key with values put in; an unknown key is a programmer's error."""
        return WORDS[key][self._place].format(**values).replace(" %", "\u00a0%")

    def listed(self, items: list[str]) -> str:
        """Return items as one list."""
        return self._comma.join(items)
