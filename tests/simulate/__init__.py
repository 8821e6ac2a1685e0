"""A deterministic simulation of yamlflow: whole histories of many processes on one store, each drawn from a seed."""
