"""The report: what was tried, what won, by how much, and what it cost; as HTML and as Markdown with data files."""
