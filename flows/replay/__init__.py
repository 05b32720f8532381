"""The past again: rules and lifecycle with only what was known then, scored against what came."""
