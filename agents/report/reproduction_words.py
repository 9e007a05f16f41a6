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
        "Log: the candidate, its agent's steps and its model calls, which the service keeps in full.",
        "论文所述与我们在筛选题目上的结果。论文的结论来自其他模型和基准。日志：候选编号、智能体的步骤数和模型调用数，"
        "服务保存其全文。",
    ),
    "claim": ("The paper claims", "论文所述"),
    "our_result": ("Our result", "我们的结果"),
    "outcome": ("Outcome", "结局"),
    "why": ("Reason", "原因"),
    "log": ("Log", "日志"),
    "reproduction_cost": ("Cost", "费用"),
    "reproduction_running": ("running", "进行中"),
    "reproduction_submitted": ("submitted", "已提交"),
    "reproduction_ranked": ("ranked", "已排名"),
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
