"""The experiment agent: which methods are tried, and what came of them."""
