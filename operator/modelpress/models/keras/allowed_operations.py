"""The operations that a .keras file may call beside layers, by the names of their classes in Keras.

The accepted ones compute on tensors that they are given: none makes a tensor of numbers alone, or calls a
function that it is given. An operation that is in neither list is refused, so a new Keras release cannot open
a hole.
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALLOWED = _names("""
    Abs Absolute AdaptiveAveragePool AdaptiveMaxPool Add AffineTransform All AllClose Amax Amin
    Angle Any Append Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition
    Argsort ArraySplit Average AveragePool BatchNorm BinaryCrossentropy Bincount BitwiseAnd
    BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor BroadcastTo
    CDist CTCDecode CTCLoss Cast CategoricalCrossentropy Cbrt Ceil Celu Cholesky CholeskyInverse
    Clip Concatenate Conj Conjugate Conv ConvTranspose ConvertToTensor Copy Corrcoef Correlate Cos
    Cosh CountNonzero CropImages Cross Cumprod Cumsum Deg2rad DepthToSpace DepthwiseConv Det Diag
    Diagflat Diagonal Diff Digitize Divide DivideNoNan Dot DotProductAttention Dsplit Dstack Eig
    Eigh Einsum ElasticTransform Elu EmptyLike Equal Erf Erfc Erfinv Exp Exp2 ExpandDims Expm1
    ExtractPatches ExtractSequences FFT FFT2 Fabs FakeQuantWithMinMaxVars Flip Fliplr Flipud Floor
    FloorDivide Fmax Fmin Fmod Fold FullLike GaussianBlur Gcd Gelu GetItem Glu Greater GreaterEqual
    HSVToRGB HardShrink HardSigmoid HardSilu HardTanh Heaviside Histogram Hsplit Hstack Hypot I0
    IFFT2 IRFFT ISTFT Imag InTopK Inner Inv IsIn Isclose Isfinite Isinf Isnan Isneginf Isposinf
    Isreal Kron LayerNorm Lcm Ldexp LeakyRelu LeftShift Less LessEqual Log Log10 Log1p Log2
    LogSigmoid LogSoftmax Logaddexp Logaddexp2 Logdet LogicalAnd LogicalNot LogicalOr LogicalXor
    Logsumexp Lstsq LuFactor MapCoordinates Matmul MatrixRank Max MaxPool Maximum Mean Median
    Meshgrid Min Minimum Mish Mod Moments Moveaxis MultiHot Multiply NanToNum Nanargmax Nanargmin
    Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod Nanquantile Nanstd
    Nansum Nanvar Ndim Negative Nextafter Nonzero Norm Normalize NotEqual OneHot OnesLike Outer PSNR
    Pad PadImages Percentile PerspectiveTransform Pinv Polar Power Prod Ptp Qr Quantile RFFT
    RGBToGrayscale RGBToHSV RMSNorm Rad2deg Ravel ReLU Real Rearrange Reciprocal Relu Relu6 Repeat
    Reshape Resize RightShift Roll Rot90 Round Rsqrt SSIM STFT SVD SaturateCast ScaleAndTranslate
    Scatter ScatterUpdate SearchSorted SegmentMax SegmentMin SegmentProd SegmentReduction SegmentSum
    Select Selu SeparableConv Sigmoid Sign Signbit Silu Sin Sinc Sinh Size Slice SliceUpdate Slogdet
    SobelEdges SoftShrink Softmax Softplus Softsign Solve SolveTriangular Sort SpaceToDepth
    SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Split Sqrt Square Squareplus
    Squeeze Stack Std StopGradient Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh TanhShrink
    Tensordot Threshold Tile TopK Trace Transpose Trapezoid Tril Triu TrueDivide Trunc Unfold Unique
    UnravelIndex Unstack Var Vdot View ViewAsComplex ViewAsReal Vsplit Vstack Where ZerosLike
""")

# What makes a tensor of numbers alone, or holds a function, and the bases of others.
REFUSED = _names("""
    Arange Array AssociativeScan Cond ForiLoop Full Function Geomspace JVP Linspace Logspace Map
    Operation Scan Switch Vander VectorizedMap WhileLoop
""")
