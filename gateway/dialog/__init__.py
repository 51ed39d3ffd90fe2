"""Who has the floor, what was heard, what state the call is in: pure, `now` passed in."""
