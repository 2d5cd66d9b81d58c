"""Attacks on poolscope's own software, in their long form; `make attack` runs them."""
