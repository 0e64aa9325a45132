"""Recorded-like answers of providers, one file each, and their reader."""
