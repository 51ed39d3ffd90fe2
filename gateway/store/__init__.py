"""Facts that outlive a call, and with an outside back-end a process: what budgets have been used up."""
