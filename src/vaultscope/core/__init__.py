"""Names, shapes and values of metrics: the registry, its snapshots, and what is derived from them."""
