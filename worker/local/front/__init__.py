"""The HTTP side: which request is whose, and the way of a call from its signature to its answer."""
