"""Watches every pool of a program, whoever makes it: `autowatch` and `poolscope run`."""
