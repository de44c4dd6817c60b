"""`python -m sportshop`, the same as `sportshop`."""

from sportshop.cli import run as main

if __name__ == "__main__":
    main()
