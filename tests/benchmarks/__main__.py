"""All benchmarks in turn: `make bench`. Each prints ratios inside one run, and none passes or fails."""

from tests.benchmarks import auto, compression, serving

if __name__ == "__main__":
    serving.main()
    compression.main()
    auto.main()
