"""The live page: the newest figures, which a browser shows without a reload."""

from pages.live.server import LivePage as LivePage
from pages.live.server import LivePageError as LivePageError
