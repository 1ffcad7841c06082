"""The room where people answer: pages, a public contract, and the doors between them."""

from accord.web.app import make_app
from accord.web.settings import WebSettings

__all__ = ["WebSettings", "make_app"]
