"""What is decided from values: logs, traces, health, alerts."""
