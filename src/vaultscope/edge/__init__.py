"""Doors to the outside: byte formats, sockets, files, the command line."""
