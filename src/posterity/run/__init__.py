"""A run of a method, from its start to a posterior."""
