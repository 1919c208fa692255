"""Batches, the stages and epochs of training and pretraining, and going on from an earlier run."""
