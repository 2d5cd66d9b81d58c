"""The promtool tests of the rules, generated from the same thresholds."""
