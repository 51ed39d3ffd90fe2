"""Close codes and reasons in the service's own words (collected from issue threads; each is cut to 123 bytes when sent)."""

from __future__ import annotations

from gateway.emulator.schema import INVALID_ARGUMENT

Reason = tuple[int, str]

BAD_KEY: Reason = (1007, "API key not valid. Please pass a valid API key.")
NO_KEY: Reason = (
    1008,
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of "
    "API consumer identity to call this API.",
)
INVALID: Reason = (1007, INVALID_ARGUMENT)
BAD_MODEL: Reason = (
    1008,
    "models/unknown is not found for API version v1beta, or is not supported for bidiGenerateContent. Call ListModels to see …",
)
QUOTA: Reason = (
    1011,
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: …",
)
CONCURRENCY: Reason = (
    1011,
    "Request trace id: 52a1b7c9d0e3f486, [ORIGINAL ERROR] generic::resource_exhausted: RESOURCE_EXHAUSTED: Maximum "
    "concurrent sessions",
)
INTERNAL: Reason = (1011, "Internal error encountered.")
DEADLINE: Reason = (1011, "Deadline expired before operation could complete.")
GOAWAY_IGNORED: Reason = (
    1008,
    "Connection aborted because the client failed to close the connection after receiving a GoAway signal.",
)
ABORTED: Reason = (1008, "The operation was aborted.")
NOT_IMPLEMENTED: Reason = (1008, "Operation is not implemented, or supported, or enabled.")
STALE_HANDLE: Reason = (1008, "BidiGenerateContent session not found")
NO_SETUP: Reason = (1008, "The operation was aborted. No setup was received.")
TOKEN_METHOD: Reason = (1008, "Ephemeral tokens are served by BidiGenerateContentConstrained only.")
