"""HTTP: request to value, one call, response."""
