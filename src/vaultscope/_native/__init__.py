"""The binding: Python objects over the C core. Nothing here knows the name of a metric."""
