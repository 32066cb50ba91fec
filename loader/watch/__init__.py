"""The watcher: raw tables that follow a source's log.

The log is only the doorbell. It says which keys of which tables changed and how far; the loader's
own reader then reads these keys in one snapshot whose place in the log is known. So each value
takes the one path that every load takes, and no log has to be decoded beyond its keys.
"""
