"""The words of the section about reproductions, in English and in Chinese."""

REPRODUCTION_WORDS: dict[str, tuple[str, str]] = {
    "reproduced": ("reproduced", "已复现"),
    "reproductions": ("Reproduced from repositories", "根据代码仓库复现"),
    "reproductions_text": (
        "Agents in sandboxes were given {count} works without a built-in method; {ranked} handed in something that was "
        "evaluated and ranked. Their language model cost US$ {usd}. Scores that agents state are not used.",
        "沙箱中的智能体处理了 {count} 篇没有内置方法的文献；其中 {ranked} 篇提交了可评测并参与排名的结果。"
        "语言模型费用为 {usd} 美元。智能体自报的分数不予采用。",
    ),
    "reproductions_caption": (
        "The paper's claim beside our result on the screening items. Claims are on other models and benchmarks. "
        "The service keeps every step and model call in full, under the candidate's id.",
        "论文所述与我们在筛选题目上的结果。论文的结论来自其他模型和基准。服务按候选编号保存每一步和每次模型调用的全文。",
    ),
    "claim": ("The paper claims", "论文所述"),
    "our_result": ("Our result", "我们的结果"),
    "outcome": ("Outcome", "结局"),
    "log": ("Cost and log", "费用与日志"),
    "reproduction_log": (
        "US$ {usd}, {time}; {steps} steps, {calls} model calls ({id})",
        "{usd} 美元，{time}；{steps} 步，{calls} 次模型调用（{id}）",
    ),
    "reproduction_running": ("running", "进行中"),
    "reproduction_submitted": ("submitted", "已提交"),
    "reproduction_ranked": ("ranked", "已排名"),
    "reproduction_behind": ("clearly behind", "明显落后"),
    "reproduction_evaluation_failed": ("failed in evaluation", "评测失败"),
    "reproduction_refused": ("refused", "被拒绝"),
    "reproduction_nothing_handed_in": ("nothing handed in", "未提交"),
    "reproduction_stuck": ("stuck", "陷入循环"),
    "reproduction_out_of_time": ("out of time", "超时"),
    "reproduction_out_of_budget": ("out of budget", "超出预算"),
    "reproduction_leak": ("leak", "数据泄漏"),
    "reproduction_sandbox_lost": ("sandbox lost", "沙箱中断"),
    "reproduction_unavailable": ("could not start", "无法开始"),
}
