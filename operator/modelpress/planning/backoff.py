"""How long to wait before something that failed is tried again."""

_MOST_DOUBLINGS = 30  # any pause has grown to its longest by then


def pause(first: float, longest: float, times: int) -> float:
    """Return the seconds to wait: `first`, doubled `times` times, `longest` at most."""
    return min(longest, first * 2.0 ** min(times, _MOST_DOUBLINGS))
