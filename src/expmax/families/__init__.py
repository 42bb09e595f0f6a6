"""Observation families p(x | θ) as formulas; they know no latent variable of a model."""
