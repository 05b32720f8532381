"""Everything that touches the world: settings, sources, storage, Prefect, the command line."""
