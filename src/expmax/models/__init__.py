"""Latent-variable models: a family of observations under a latent structure."""
