"""`python -m sportshop`, the same as `sportshop`."""

from sportshop import streams


def main() -> None:
    """Run the command that the arguments name, and end the process."""
    streams.take_missing()
    from sportshop.cli import run  # noqa: PLC0415 - what it imports might open a file

    run()


if __name__ == "__main__":
    main()
