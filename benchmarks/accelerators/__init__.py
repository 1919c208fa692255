"""Precision and memory levers on the CPU, and training steps compiled for a TPU without one."""
