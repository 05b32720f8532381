"""The balance of a market: supply, demand and shortfall as distributions, under scenarios."""
