"""Rule files: TOML into rules, routes and mutes, every mistake named with its file, place and allowed values."""

from alerts.ruleset.builders import TYPES
from alerts.ruleset.loading import Ruleset, load_ruleset

__all__ = ["TYPES", "Ruleset", "load_ruleset"]
