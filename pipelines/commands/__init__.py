"""The commands of `stockpot`, one module each; `pipelines.__main__` imports the one that is asked for."""
