"""What stands on the wire: parsers and builders that hold no socket."""
