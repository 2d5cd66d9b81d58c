"""The promtool tests of the rules, generated with the rules."""
