"""A WebRTC media gateway to Gemini Live: the server you run."""

__version__ = "0.1.0"
