"""Choice: a family for every column, the number of components."""
