"""Headrace: an asynchronous, event-driven orchestrator for data pipelines."""
