"""The pictures of the field, drawn from plain rows."""
