"""Execution: turns nodes into jobs, bytes and records, and knows nothing of learning."""
