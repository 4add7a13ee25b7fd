"""What scripts/check.py runs, a module for each kind of test."""
