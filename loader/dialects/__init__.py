"""What both sides of one database share: quoting, spelling of values, names of types, sentences.

A module here knows neither sources nor destinations, so that those do not import each other.
"""
