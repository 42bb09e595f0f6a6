"""Functions of a fitted estimator: tables to read, descriptions for other programs."""
