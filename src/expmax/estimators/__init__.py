"""scikit-learn's face of the models: input is validated here and nowhere below."""
