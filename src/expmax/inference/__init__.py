"""Posteriors and expected statistics: arrays in, arrays out; knows no family."""
