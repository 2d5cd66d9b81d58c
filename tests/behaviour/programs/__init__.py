"""Correct programs, each written as the documentation of its library or framework says."""
