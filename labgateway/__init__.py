"""labgateway: laboratory analyzers in, results into the electronic medical record."""

__version__ = "0.1.0"
