"""What the sandboxes of a run may reach: what the operator allows, narrowed by the Statement of Work."""

from agents.sandbox.network import EgressLimits, Network
from core.settings import Settings
from core.types.host_rule import HostRule, narrowed
from core.types.sow import ExperimentSpec

MB = 2**20


def network_of(settings: Settings, experiments: ExperimentSpec) -> Network:
    """Return the network of a run's sandboxes. The index is handed in only where its host is still allowed."""
    hosts = settings.sandbox_rules
    if experiments.hosts is not None:
        hosts = narrowed(hosts, [HostRule.wanted(text) for text in experiments.hosts])
    return Network(
        hosts=hosts,
        limits=EgressLimits(bytes_in=settings.sandbox_download_mb * MB, bytes_out=settings.sandbox_upload_mb * MB),
        index_url=settings.sandbox_index_url,
    )


def network_words(network: Network, experiments: ExperimentSpec) -> str:
    """Say what a sandbox may reach, and what the Statement of Work names in vain."""
    known = ", ".join(str(rule) for rule in network.hosts)
    said = f"The sandbox may reach {known}." if known else "The sandbox has no network but the model's gateway."
    rules = [HostRule.wanted(text) for text in experiments.hosts or ()]
    vain = [str(rule) for rule in rules if not narrowed(network.hosts, [rule])]
    return said + (f" The operator does not allow {', '.join(vain)}." if vain else "")
