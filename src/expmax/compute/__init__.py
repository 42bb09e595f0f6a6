"""Who sums the blocks: one thread or several, always in one fixed tree."""
