"""The process that the pools are in: its forks, its pauses, its event loops and its GIL."""
