"""Benchmarks: this package against the upstream provider or another peer, both in one run. ``make bench`` runs them."""
