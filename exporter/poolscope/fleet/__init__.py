"""Many processes: the writer and the reader of one file format, side by side."""
