"""Whole datasets: label a folder, a bucket or a project shard by shard, on one machine or many, whatever fails on the way."""
