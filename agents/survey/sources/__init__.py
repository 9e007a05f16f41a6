"""Where works come from: one client a source, behind the ports of core.ports."""
