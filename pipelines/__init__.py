"""Composition: studies, tasks, the report and the command line; the only place that imports both other rooms."""
