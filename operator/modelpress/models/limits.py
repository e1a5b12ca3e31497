"""Bounds that a model file must keep; far above real models, far below what fills a node."""

GIB = 2**30

MAX_MODEL_BYTES = 16 * GIB  # of all files of a model, unpacked
MAX_ENTRIES = 10_000  # files and folders of a model
MAX_EXPANSION = 200  # unpacked size / packed size; trained weights reach about 1.1, very sparse ones 20
MAX_CONFIG_BYTES = 64 * 2**20  # the JSON structure of a Keras model
MAX_GRAPH_BYTES = 2 * GIB - 1  # a protocol buffer cannot be larger
MAX_CONSTANT_BYTES = 2 * GIB  # constants of a graph, after a repeated value is written out
SMALL = 2**20  # files below this may have any ratio
