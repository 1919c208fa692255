"""scale: generated catalogues and logs of any size, and what a step costs on them."""
