"""The pools of many processes: the writer and the readers of the files that they share."""
