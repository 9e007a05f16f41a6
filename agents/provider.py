"""How to reach a language model's provider, what it charges, and how to keep its key out of every text.

It makes no request. `redact` removes the key itself, not what someone could derive from it.
"""

from pydantic import Field, SecretStr, field_validator

from core.settings import Settings
from core.types.base import Value
from core.types.transcript import Usage

REDACTED = "[redacted key]"


class LlmSettings(Value):
    """A provider that speaks the OpenAI protocol. Without `api_key`, policies decide alone.

    Prices are US dollars per million tokens; where a provider charges less for cached prompts, costs are upper bounds.
    `json_mode` asks for `response_format: json_object`; a provider that refuses it is asked without.
    """

    base_url: str = "https://api.deepseek.com"
    model: str = Field("deepseek-chat", min_length=1)
    api_key: SecretStr | None = None
    timeout_s: float = Field(120.0, gt=0)
    max_retries: int = Field(4, ge=0, le=20)
    prompt_usd_per_million: float = Field(0.28, ge=0)
    completion_usd_per_million: float = Field(0.42, ge=0)
    max_repairs: int = Field(2, ge=0, le=10)
    max_output_tokens: int = Field(4096, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    json_mode: bool = True
    outage_after: int = Field(3, ge=1, description="failed decisions in a row after which the provider is left alone")
    outage_s: float = Field(120.0, ge=0, description="for so long")

    @field_validator("api_key")
    @classmethod
    def _blank_is_none(cls, key: SecretStr | None) -> SecretStr | None:
        return key if key is not None and key.get_secret_value().strip() else None

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")) or "@" in url:
            raise ValueError("must be an http(s) address without a user or password in it")
        return url.rstrip("/")

    @property
    def secret(self) -> str:
        """Return the key in the clear: for the request's header only."""
        return self.api_key.get_secret_value() if self.api_key else ""

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what a number of tokens costs, in US dollars."""
        millionths = prompt_tokens * self.prompt_usd_per_million + completion_tokens * self.completion_usd_per_million
        return millionths / 1e6

    def usage(self, prompt_tokens: int, completion_tokens: int, latency_s: float = 0.0) -> Usage:
        """Return the account of one call."""
        return Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=self.cost(prompt_tokens, completion_tokens),
            latency_s=latency_s,
            calls=1,
        )

    def worst_case(self, prompt: str, max_tokens: int | None = None) -> float:
        """Return an upper estimate of what asking a prompt can cost, in US dollars."""
        return self.cost(estimated_tokens(prompt), max_tokens or self.max_output_tokens)

    def redact(self, text: str) -> str:
        """Return a text without the key."""
        return text.replace(self.secret, REDACTED) if self.secret else text


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has, rather too many: three bytes a token, English has four."""
    return len(text.encode()) // 3 + 1


def llm_settings(settings: Settings) -> LlmSettings:
    """Return the part of a process's settings that is about the language model."""
    return LlmSettings(
        base_url=settings.deepseek_base_url,
        model=settings.deepseek_model,
        api_key=settings.deepseek_api_key,
        timeout_s=settings.llm_timeout_s,
        max_retries=settings.llm_max_retries,
        max_repairs=settings.llm_max_repairs,
        max_output_tokens=settings.llm_max_output_tokens,
        prompt_usd_per_million=settings.llm_usd_per_million_input,
        completion_usd_per_million=settings.llm_usd_per_million_output,
    )
