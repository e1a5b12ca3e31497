"""What ModelPress makes of the cases, for the tests and for the table of docs/compression.md."""

# cases of `cases.LAYERS` that are refused, with words of the refusal
REFUSED = {
    "LocallyConnected1D": "no such layer",
    "LocallyConnected2D": "no such layer",
    "RandomCrop": "does not resize to its size in Keras 3",
}
# where the numbers need not be equal: float16 in the Keras that wrote them, float32 here
TOLERANCES = {"mixed": 2e-2, "attention": 2e-4}
TOLERANCE = 2e-5
