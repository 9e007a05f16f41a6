"""All configuration, read once per process from the environment and `.env` (prefix `RESEARCH_AGENT_`).

Every external address is a setting, so that tests, mirrors and proxies work. Secrets are `SecretStr`: they never show
in a repr, a log or an event.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import OperatorError
from core.types.host_rule import HostRule, read_rules

PREFIX = "RESEARCH_AGENT_"


def _named(*plain: str) -> AliasChoices:
    """Return aliases: our prefixed name first, then the names that others already use."""
    return AliasChoices(*(PREFIX + p for p in plain), *plain)


class Settings(BaseSettings):
    """Settings of one process. Field descriptions make the README's table (`research-agent settings`)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    state_dir: Path = Field(Path(".state"), description="where the embedded database, artifacts and logs live")
    database_url: SecretStr | None = Field(
        None, validation_alias=_named("DATABASE_URL"), description="PostgreSQL; unset: start one from this machine's"
        " PostgreSQL or the bundled binaries",
    )  # fmt: skip
    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: int = Field(8321, ge=0, le=65535, description="port of the API; the next free one is taken when it is in use")
    token: SecretStr | None = Field(None, description="bearer token of the API; unset: made, kept and printed")
    url: str | None = Field(None, description="API that the command line talks to; unset: the one started here")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    deepseek_api_key: SecretStr | None = Field(
        None, validation_alias=_named("DEEPSEEK_API_KEY"), description="language model key; unset: policies decide"
    )
    deepseek_base_url: str = Field(
        "https://api.deepseek.com", validation_alias=_named("DEEPSEEK_BASE_URL"), description="OpenAI-compatible API"
    )
    deepseek_model: str = Field(
        "deepseek-chat", validation_alias=_named("DEEPSEEK_MODEL"), description="model that the agents ask"
    )
    llm_timeout_s: float = Field(120.0, gt=0, description="time limit of one model call")
    llm_max_retries: int = Field(4, ge=0, description="tries after 429, 5xx and time-outs")
    llm_max_repairs: int = Field(2, ge=0, description="times an invalid answer is asked again")
    llm_max_output_tokens: int = Field(4096, ge=16, description="limit of one answer")
    llm_usd_per_million_input: float = Field(0.28, ge=0, description="price of prompt tokens")
    llm_usd_per_million_output: float = Field(0.42, ge=0, description="price of completion tokens")

    arxiv_url: str = Field("https://export.arxiv.org", description="arXiv")
    semantic_scholar_url: str = Field("https://api.semanticscholar.org", description="Semantic Scholar")
    semantic_scholar_key: SecretStr | None = Field(None, description="Semantic Scholar key")
    openalex_url: str = Field("https://api.openalex.org", description="OpenAlex API")
    openalex_key: SecretStr | None = Field(None, description="OpenAlex key")
    github_url: str = Field("https://api.github.com", description="GitHub REST API")
    github_raw_url: str = Field("https://raw.githubusercontent.com", description="GitHub raw files")
    github_token: SecretStr | None = Field(None, validation_alias=_named("GITHUB_TOKEN"), description="GitHub token")
    hub_url: str = Field(
        "https://huggingface.co", validation_alias=_named("HF_ENDPOINT"), description="model hub (HF_ENDPOINT)"
    )
    hub_token: SecretStr | None = Field(None, validation_alias=_named("HF_TOKEN"), description="model hub token")
    publish_to: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="hub user or organization that confirmed models are"
        " uploaded to, privately, after approval at the gate before_publishing; unset: no upload",
    )  # fmt: skip

    data_dir: Path | None = Field(None, description="folder of benchmark files, looked through before the hub")
    grader_tier: str = Field("bubblewrap", pattern="^(bubblewrap|container|subprocess)$", description="grading sandbox")
    sandbox_tier: str = Field("auto", pattern="^(auto|docker|bubblewrap)$", description="sandbox of reproductions")
    sandbox_slots: int = Field(0, ge=0, description="reproductions at a time; 0: by CPUs and memory of this machine")
    sandbox_python: Path | None = Field(
        None,
        description="interpreter with the agent server for bubblewrap sandboxes; unset: the one of `make sandbox-env`",
    )
    sandbox_hosts: str = Field(
        "", description="public hosts that sandboxes may reach, by commas: host or *.host, :port where not 443; empty:"
        " none",
    )  # fmt: skip
    sandbox_private_hosts: str = Field(
        "", description="host:ports that sandboxes may reach though they are at addresses that are not public (mirrors)"
    )
    sandbox_index_url: str = Field(
        "", description="package index that pip in sandboxes uses; its host must be one of those"
    )
    sandbox_download_mb: int = Field(4096, ge=0, description="what one sandbox may download")
    sandbox_upload_mb: int = Field(64, ge=0, description="what one sandbox may send to those hosts")
    engine: str = Field("transformers", pattern="^(transformers|vllm)$", description="generation engine of workers")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads of a worker; 0: all cores")
    worker_memory_mb: int = Field(0, ge=0, description="memory a worker may use; 0: no limit of ours")
    job_timeout_s: float = Field(6 * 3600, gt=0, description="time limit of one job")
    job_attempts: int = Field(3, ge=1, description="times a job whose worker died is tried in all")
    run_attempts: int = Field(5, ge=1, description="times a run whose executor died is taken up in all")
    heartbeat_s: float = Field(2.0, gt=0, description="interval of process heartbeats")
    stalled_after_s: float = Field(12.0, gt=0, description="silence after which a process counts as dead")
    executor_concurrency: int = Field(4, ge=1, description="runs that one executor drives at a time")
    max_body_bytes: int = Field(2_000_000, ge=1024, description="largest request body")

    @model_validator(mode="after")
    def _alive_means_heard(self) -> Self:
        if self.stalled_after_s < 2 * self.heartbeat_s:
            raise ValueError("stalled_after_s must be at least twice heartbeat_s, or living processes count as dead")
        return self

    @model_validator(mode="after")
    def _index_is_reached(self) -> Self:
        rules = self.sandbox_rules
        if not self.sandbox_index_url:
            return self
        url = urlsplit(self.sandbox_index_url)
        if url.scheme not in {"http", "https"} or not url.hostname or "@" in url.netloc:
            raise ValueError("sandbox_index_url must be http(s)://host/…, without a password: sandboxes can read it")
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        if not any(rule.covers(url.hostname, port) for rule in rules):
            raise ValueError(f"sandbox_index_url is at {url.hostname}:{port}, which sandbox_hosts does not allow")
        return self

    @cached_property
    def sandbox_rules(self) -> tuple[HostRule, ...]:
        """Return the hosts that sandboxes may reach."""
        return (*read_rules(self.sandbox_hosts), *read_rules(self.sandbox_private_hosts, private=True))

    @cached_property
    def artifact_dir(self) -> Path:
        """Return the root of the content-addressed store."""
        return self.state_dir.resolve() / "artifacts"

    @cached_property
    def cache_dir(self) -> Path:
        """Return where models made from packages and expected outputs are kept."""
        return self.state_dir.resolve() / "cache"

    @cached_property
    def log_dir(self) -> Path:
        """Return where the processes started by `up` log."""
        return self.state_dir.resolve() / "logs"

    @cached_property
    def cpu_threads(self) -> int:
        """Return the threads that a worker computes with."""
        return self.threads or len(os.sched_getaffinity(0))

    def required_database_url(self) -> str:
        """Return the database's URL; raise OperatorError when none is set."""
        if self.database_url is None:
            raise OperatorError(
                "No database is set.", fix="Set DATABASE_URL, or start everything with `research-agent up`."
            )
        return self.database_url.get_secret_value()
