"""Bijections: call_and_ladj and inverse, one idea a file."""
