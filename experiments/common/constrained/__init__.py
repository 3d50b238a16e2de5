"""Networks whose outputs have to satisfy constraints: the problems, the ways to make them do so, exact answers."""
