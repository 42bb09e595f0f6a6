"""The only loop: ascent, acceleration, stopping, starts, history. It knows no particular model."""
