"""`gateway loadtest`: many callers at once, each with its own socket, ICE, DTLS and SRTP, over WHIP; and what they heard.

Deliberately its own far end: STUN, DTLS and the offer are written here and share nothing with `legs/webrtc`, so that the two
cannot agree on a mistake. What a caller sends was encoded beforehand and what it hears is not decoded, so that the load costs a
small part of what it causes.
"""
