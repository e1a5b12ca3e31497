"""All benchmarks in turn: `make bench`. Each prints ratios inside one run, and none passes or fails."""

from tests.benchmarks import (
    auto,
    channels,
    compression,
    creation,
    grpc_peers,
    l0,
    memory,
    peers,
    pretrained,
    scale,
    serving,
)

if __name__ == "__main__":
    serving.main()
    peers.main()
    grpc_peers.main()
    compression.main()
    auto.main()
    channels.main()
    l0.main()
    memory.main()
    pretrained.main()
    creation.main()
    scale.main()
