"""sportshop: a shop server for limited stock that never oversells."""

__version__ = "0.1.0"
