"""What ModelPress makes of the cases, for the tests and for the table of docs/compression.md."""

# cases of `cases.LAYERS` that are refused, with words of the refusal
REFUSED = {
    "LocallyConnected1D": "no such layer",
    "LocallyConnected2D": "no such layer",
    "RandomCrop": "does not resize to its size in Keras 3",
}
# where more than rounding differs: float16 in the Keras that wrote it and float32 here; two attentions and a
# LayerNormalization in a row, 4e-5 when this was written
TOLERANCES = {"mixed": 2e-2, "attention": 2e-4}
TOLERANCE = 2e-5
