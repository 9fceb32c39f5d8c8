"""The rules that turn many models, or their answers, into one."""
