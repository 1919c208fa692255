"""Several processes that train one model together: who they are, how they meet, and what the first of them decides."""
