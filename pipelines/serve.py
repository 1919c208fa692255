"""`python -m pipelines.serve`: the same as `triptych serve`."""

if __name__ == "__main__":
    from pipelines.cli import step_main

    step_main("serve")
