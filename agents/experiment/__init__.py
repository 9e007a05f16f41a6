"""The experiment agent: what is tried, its evaluation, and its ranking."""
