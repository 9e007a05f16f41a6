"""The words of the section about the survey, in English and in Chinese."""

SURVEY_WORDS: dict[str, tuple[str, str]] = {
    "survey": ("What is known", "文献调研"),
    "survey_text": (
        "{kept} works bear on the task; {dropped} found works do not, {borderline} are borderline.",
        "{kept} 篇文献与任务相关；{dropped} 篇不相关，{borderline} 篇难以判定。",
    ),
    "survey_flow": (
        "{records} records came in ({sources}), {distinct} distinct works; {code} of those in scope have code.",
        "共检索到 {records} 条记录（{sources}），去重后 {distinct} 篇；相关文献中 {code} 篇有代码。",
    ),
    "survey_files": (
        "Pros and cons by category, the ledger of every query, BibTeX and CSV lie under “survey/” of this run’s files.",
        "各类别的优缺点、全部检索记录、BibTeX 与 CSV 见本次运行文件的 “survey/” 目录。",
    ),
    "timeline_caption": ("Works in scope by year and first category.", "各年份的相关文献，按首要类别着色。"),
    "works_axis": ("works", "篇数"),
    "rest": ("other", "其他"),
    "coverage": ("Coverage: {text}", "覆盖率：{text}"),
    "coverage_text": (
        "an estimated {total} works exist ({low} to {high}), by {method}.",
        "估计共有 {total} 篇（{low} 到 {high}），方法：{method}。",
    ),
    "work": ("Work", "文献"),
    "year": ("Year", "年份"),
    "categories": ("Categories", "类别"),
    "code": ("Code", "代码"),
    "applied": ("Applied as", "如何使用"),
    "our_score": ("Our score", "我们的得分"),
    "survey_caption": ("Works and what became of each on this task.", "文献及其在本任务中的处理。"),
    "exact": ("exact", "原样"),
    "adapted": ("adapted", "改编"),
    "not_applicable": ("not applicable", "不适用"),
    "not_built_in": ("not built in", "未内置"),
}  # fmt: skip
