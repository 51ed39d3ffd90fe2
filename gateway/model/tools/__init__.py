"""The functions a model may have called: who runs them, and within which limits.

An operator's function may `raise ToolError("words for the model")`; anything else it raises is told as "the tool failed".
"""

from gateway.model.tools.request import ToolError as ToolError
