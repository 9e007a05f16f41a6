import pytest
from pydantic import ValidationError

from core.settings import Settings
from core.types.sow import ExperimentSpec


def test_hosts_of_sandboxes_are_read_from_one_line() -> None:
    settings = Settings(
        sandbox_hosts="a.example, *.b.example:8443,",
        sandbox_private_hosts="10.0.0.7:3141",
        sandbox_index_url="https://a.example/simple",
    )
    assert [(r.host, r.port, r.private) for r in settings.sandbox_rules] == [
        ("a.example", 443, False), ("*.b.example", 8443, False), ("10.0.0.7", 3141, True),
    ]  # fmt: skip
    assert Settings().sandbox_rules == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sandbox_hosts": "https://a.example"}, "a.example"),
        ({"sandbox_hosts": "10.0.0.7"}, "only private hosts"),
        ({"sandbox_private_hosts": "*.a.example"}, "named exactly"),
        ({"sandbox_index_url": "https://a.example/simple"}, "which sandbox_hosts does not allow"),
        ({"sandbox_index_url": "https://me:pw@a.example/", "sandbox_hosts": "a.example"}, "without a password"),
        ({"sandbox_index_url": "a.example", "sandbox_hosts": "a.example"}, "http"),
    ],
)
def test_what_can_not_be_meant_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(**given)


def test_a_statement_of_work_names_hosts_without_schemes() -> None:
    assert ExperimentSpec(hosts=("a.example", "10.0.0.7:3141")).hosts == ("a.example", "10.0.0.7:3141")
    with pytest.raises(ValidationError, match="no port after the colon"):
        ExperimentSpec(hosts=("https://a.example",))
