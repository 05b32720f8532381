"""Series in, probabilities out: models, backtests, the market balance. Pure: no clock, no network."""
