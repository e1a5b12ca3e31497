"""Bounds that a model file must keep; far above real models, far below what fills a node."""

GIB = 2**30

MAX_MODEL_BYTES = 16 * GIB  # all files of a model together, unpacked
MAX_DIRECTORY_BYTES = 2 * 2**20  # the list of entries of a .zip: 200 bytes for each of 10,000
MAX_CONFIG_BYTES = 8 * 2**20  # the JSON structure of a Keras model; a network of 1,000 layers has 1 MiB
MAX_CONFIG_VALUES = 500_000  # values in it: each costs 30 to 100 bytes once it is read
MAX_CONFIG_OBJECTS = 30_000  # layers, initializers, policies in it; a network of 1,000 layers has 5,000
MAX_HDF5_STRUCTURE = 32 * 2**20  # bytes of an HDF5 file that are no arrays
MAX_GRAPH_BYTES = 2 * GIB - 1  # a protocol buffer cannot be larger
MAX_CONSTANT_BYTES = 2 * GIB  # constants of a graph, after a repeated value is written out
MAX_PARTS = 300_000  # nodes, functions and objects in a graph's file; each takes a hundred bytes or more
MAX_NODES = 5_000_000  # in a graph whose calls are written out; a network of 1,000 layers has 20,000
MAX_ROW_BYTES = 4 * GIB  # one value inside the model, for one row
SMALL = 2**20  # files below this may have any ratio
