"""The identities of `check_model`, one module a subject."""
