"""How a model answers: one frozen dataclass each."""
