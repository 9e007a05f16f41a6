"""Our tables. LangGraph's checkpoints, Procrastinate's queue and Optuna's studies keep their own beside them."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _now(name: str) -> Column:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())


def _run() -> Column:
    return Column("run_id", Text, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False)


runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sow", JSONB, nullable=False),
    Column("root", Text, nullable=False, server_default="", comment="folder that the SoW's relative paths start from"),
    Column("status", Text, nullable=False),
    Column("stage", Text),
    Column("progress", JSONB, nullable=False, server_default="{}"),
    Column("gpu_s", Float, nullable=False, server_default="0"),
    Column("llm_usd", Float, nullable=False, server_default="0"),
    Column("llm_tokens", BigInteger, nullable=False, server_default="0"),
    Column("trials", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    Column("gate", Text),
    Column("decision", JSONB, comment="a person's answer at the gate, until the graph has taken it"),
    Column("best_candidate", Text),
    Column("attempt", Integer, nullable=False, server_default="0", comment="times an executor took the run up"),
    Column("idempotency_key", Text, unique=True),
    Column("body_digest", Text),
    Column("version", Integer, nullable=False, server_default="0"),
    _now("created_at"),
    _now("updated_at"),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Index("ix_runs_created", "created_at", "id"),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _run(),
    _now("at"),
    Column("kind", Text, nullable=False),
    Column("stage", Text),
    Column("message", Text, nullable=False),
    Column("data", JSONB, nullable=False, server_default="{}"),
    Index("ix_events_run", "run_id", "id"),
)

transcripts = Table(
    "transcripts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _run(),
    _now("created_at"),
    Column("agent", Text, nullable=False),
    Column("decider", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Index("ix_transcripts_run", "run_id", "id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("key", Text, primary_key=True, comment="run id and content hash: the same work is the same job"),
    _run(),
    Column("kind", Text, nullable=False),
    Column("candidate_id", Text),
    Column("payload", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0", comment="fences off results of lost workers"),
    Column("worker", Text),
    Column("device", Text),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("total", Integer, nullable=False, server_default="0"),
    Column("result", JSONB),
    Column("error", Text),
    _now("created_at"),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Index("ix_jobs_run", "run_id", "candidate_id"),
)

candidates = Table(
    "candidates",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("body", JSONB, nullable=False),
    _now("created_at"),
)

documents = Table(
    "documents",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True, comment="survey, applicability, leaderboard.screen, optimization, …"),
    Column("body", JSONB, nullable=False),
    _now("updated_at"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    _now("created_at"),
)

answers = Table(
    "answers",
    metadata,
    Column("key", Text, primary_key=True, comment="a question to an outside service"),
    Column("value", LargeBinary, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    comment="answers of outside services, so that no question is asked twice",
)
