"""Stores: where rows live. A store keeps and hands out; it decides nothing about statuses."""
