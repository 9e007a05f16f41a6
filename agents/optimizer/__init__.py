"""The optimizer: searches for a better recipe on the search slices, and confirms it on items nothing has seen."""
