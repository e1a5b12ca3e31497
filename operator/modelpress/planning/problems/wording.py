"""Words of others, without what differs each time they say the same.

A kubelet, registry or container repeats a message with another port, request ID or time in it. Written as it
comes, each repetition would rewrite the status. What tells one fault from another stays: peers, images,
digests, names of volumes, the time at which a certificate ended.
"""

import re

_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_DURATION = r"\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h)(?:\d+(?:\.\d+)?(?:ms|s|m))*"
_ADDRESS = r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:.]{2,45}(?:%\w{1,16})?\])"
_GONE = "…"

# Each with what takes its place, in this order. None looks ahead further than its own kind of text, so that
# the time taken grows with the length only.
_VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), instead)
    for pattern, instead in (
        # the event recorder joins events that it finds similar
        (r"^\(combined from similar events\): ", ""),
        # the kubelet's two ways to tell of one failed pull, and of one container that keeps ending
        (r'^Back-off pulling image "[^"]*": (?:\w+: )?', ""),
        (r"\b([Bb]ack-off) " + _DURATION + r" (?=restarting)", r"\1 "),
        # format.Pod of the kubelet: name_namespace(uid)
        (r"(?<=[a-z0-9])\(" + _UUID + r"\)", ""),
        # the container's name at the runtime: container_pod_namespace_uid_attempt
        (r"(?<=_)" + _UUID + r"_\d+\b", _GONE),
        (r"(?<=/pods/)" + _UUID, _GONE),
        # the name that a pod would have had, were it not refused
        (r'(?<=\bpods ")([a-z0-9.-]{1,248}-)[bcdfghjklmnpqrstvwxz2456789]{5}(?=" is )', r"\1" + _GONE),
        # the near end of a connection
        (_ADDRESS + r":\d{1,5}->(?=[\[\d])", ""),
        # sandboxes and containers; a digest is what a fault is about
        (r"((?:\b(?:sandbox|container|task|[Ii][Dd]|for):? \"?)|…\()[0-9a-f]{64}(?![\w-])", r"\1" + _GONE),
        # requests
        (
            r"(?i)\b((?:x-)?(?:[a-z]{1,12}-){0,3}(?:request|correlation|trace|activity|host|session)[ _-]?id)"
            r"(\"?[:=] ?\"?|\s)(?=[\w+/.=-]*\d)[\w+/.=-]{8,}",
            r"\1\2" + _GONE,
        ),
        # other IDs: not those of volumes (pvc-…), nor in addresses (a tenant's)
        (r"(?<![\w/-])" + _UUID + r"(?![\w-])", _GONE),
        # moments, unless they are what the fault is about: a certificate that is not valid before or after
        (
            r"(?<!after )(?<!before )(?<![\w/-])\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
            r"(?: ?Z\b| ?[+-]\d\d:?\d\d\b| UTC\b)?",
            _GONE,
        ),
        (r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", _GONE),
        # waits and times taken
        (r"(?i)\b(retry[ -]?(?:after|in):? ?)" + _DURATION, r"\1" + _GONE),
        (r"\b(after|in) \d+\.\d+(?:ms|µs|s)\b", r"\1 " + _GONE),
        # objects in the memory of a program
        (r"\b0x[0-9a-f]{6,16}\b", "0x" + _GONE),
    )
)


def stable(message: str) -> str:
    """Return a message without what differs each time; what is left says the same."""
    for pattern, instead in _VOLATILE:
        message = pattern.sub(instead, message)
    return message
