"""The WebRTC leg: the only room that knows aiortc, aioice and their private names."""
