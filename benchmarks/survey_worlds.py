"""Write reading lists of made-up works, in the form of the real ones, to see how the survey does on other worlds.

Each world is a topic's list and a neighboring topic's, which serve as distractors for each other: a large one, a tiny
one, one without arXiv ids, one without surveys or sections, and one in Chinese. Titles are put together by chance from
words; every third names its topic in other words only. `bench_survey --world A B --topic TEXT` measures on them.
"""

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Topic:
    """How works on a topic are titled: its names, its methods by section, and what they are applied to."""

    stem: str
    names: Sequence[str]
    sections: dict[str, Sequence[str]]
    subjects: Sequence[str]
    form: str = "{method} {name} for {subject}"
    bare: str = "{method} of {other} in {subject}"
    survey: str = "A survey of {name}"


SPEECH = Topic(
    "speech_synthesis",
    ("speech synthesis", "text to speech", "neural vocoders", "voice cloning"),
    {
        "Acoustic Models": ("Autoregressive", "Duration informed", "Flow based", "Diffusion based"),
        "Vocoding": ("Waveform", "Adversarial", "Phase aware", "Multi band"),
        "Prosody and Style": ("Expressive", "Emotional", "Prosody controlled", "Style transferred"),
        "Low Resources": ("Few shot", "Cross lingual", "Transfer learned", "Dialect aware"),
    },
    (
        "audiobooks",
        "assistants",
        "singers",
        "children",
        "podcasts",
        "call centers",
        "games",
        "museums",
        "radio",
        "films",
    ),
)
VISION = Topic(
    "point_cloud_segmentation",
    ("point cloud segmentation", "lidar segmentation", "semantic point labels", "3d scene parsing"),
    {
        "Voxel Methods": ("Sparse voxel", "Octree", "Cylindrical", "Multi scale voxel"),
        "Point Methods": ("Hierarchical point", "Kernel point", "Graph point", "Attention point"),
        "Labels": ("Weakly supervised", "Self supervised", "Active", "Contrastive"),
        "Range Images": ("Projection", "Bird eye", "Multi view", "Spherical"),
    },
    ("streets", "indoor rooms", "forests", "factories", "bridges", "railways", "mines", "farms", "harbors", "tunnels"),
)
_CHINESE = {"form": "面向{subject}的{method}{name}", "bare": "{subject}中{other}的{method}方法", "survey": "{name}综述"}
CHINESE_MERGING = Topic(
    "模型合并", ("模型合并", "权重融合", "任务向量", "模型汤"),
    {
        "加权方法": ("自适应加权", "费舍尔加权", "贝叶斯"),
        "子空间方法": ("低秩", "稀疏", "正交"),
        "路由方法": ("动态路由", "门控", "混合"),
    },
    ("医疗问答", "代码生成", "数学推理", "机器翻译", "法律文书", "教育测评", "金融分析", "图像描述", "对话系统"),
    **_CHINESE,
)  # fmt: skip
CHINESE_FEDERATED = Topic(
    "联邦学习", ("联邦学习", "分布式隐私训练", "安全聚合", "客户端选择"),
    {
        "隐私": ("差分隐私", "同态加密", "匿名"),
        "通信": ("梯度压缩", "量化", "异步"),
        "公平": ("个性化", "激励", "鲁棒"),
    },
    ("移动终端", "车联网", "医院", "银行", "工厂", "卫星", "校园", "智能家居", "电网", "物流"),
    **_CHINESE,
)  # fmt: skip


def rows(topic: Topic, size: int, drawn: random.Random) -> list[dict]:
    """Return a list's works: surveys first, then works of all sections."""
    made: dict[str, dict] = {}
    while len(made) < size:
        number = len(made)
        section, methods = drawn.choice(list(topic.sections.items()))
        name, other = topic.names[0], drawn.choice(topic.names[1:])
        form = topic.bare if number % 3 == 2 else topic.form
        subject = drawn.choice(topic.subjects)
        title = form.format(method=drawn.choice(methods), name=name, other=other, subject=subject)
        title = f"{title} {drawn.choice(topic.subjects)} {number}" if title in made else title
        is_survey = number < max(1, size // 100)
        title = topic.survey.format(name=name) + (f" {number}" if number else "") if is_survey else title
        made[title] = {
            "title": title,
            "arxiv_id": f"{drawn.randint(18, 25)}{drawn.randint(1, 12):02}.{drawn.randint(1, 99999):05}",
            "url": None,
            "year": drawn.randint(2018, 2025),
            "venue": None,
            "code_url": None,
            "all_sections": [["Surveys"]] if is_survey else [["Papers", section]],
            "is_survey": is_survey,
        }
    return list(made.values())


def write(folder: Path, topics: Sequence[Topic], sizes: Sequence[int], seed: int, **changes: object) -> None:
    """Write a world's lists into a folder; `changes` are put on every row."""
    folder.mkdir(parents=True, exist_ok=True)
    for topic, size in zip(topics, sizes, strict=True):
        drawn = random.Random(f"{seed} {topic.stem}")
        lines = [json.dumps({**row, **changes}, ensure_ascii=False) for row in rows(topic, size, drawn)]
        (folder / f"{topic.stem}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    both = (SPEECH, VISION)
    write(options.out / "large", both, (1000, 600), options.seed)
    write(options.out / "tiny", both, (25, 25), options.seed)
    write(options.out / "without_arxiv", both, (200, 200), options.seed, arxiv_id=None)
    write(options.out / "bare", both, (200, 200), options.seed, is_survey=False, all_sections=[])
    write(options.out / "chinese", (CHINESE_MERGING, CHINESE_FEDERATED), (120, 120), options.seed)


if __name__ == "__main__":
    main()
