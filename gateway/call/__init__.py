"""One call: a leg, a model session, and what passes between them.

    caller ▶ hear ▶ ear (UPLINK) ▶ feed ▶ model          caller ◀ leg.send ◀ tick ◀ mouth (PLAYOUT) ◀ think ◀ model

`call` the object that leg, clock and registry talk to, and its life · `ear` what of the caller the model is to hear ·
`feed` the task towards the model · `mouth` the answer on its way to the caller's ears · `words` both transcripts on theirs to the
readers · `conduct` what a call does by itself as time passes · `ending` who says first that it is over.
"""

from gateway.call.call import Call
from gateway.call.view import CallView, Observe

__all__ = ["Call", "CallView", "Observe"]
