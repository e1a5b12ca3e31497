"""The operations that a SavedModel may hold.

All of them only compute on tensors, or read and assign the model's own variables: none touches files,
network, processes, Python, devices' settings or other models. An operation that is not here is refused, so
a new TensorFlow release cannot open a hole.
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CALLS = _names("""
    PartitionedCall StatefulPartitionedCall While StatelessWhile If StatelessIf Case StatelessCase
    SymbolicGradient
""")

VARIABLES = _names("""
    VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp VarIsInitializedOp
    VariableShape DestroyResourceOp DisableCopyOnRead ResourceGather ResourceGatherNd ResourceScatterUpdate
    ResourceScatterAdd
""")

CONTROL = _names("""
    NoOp Placeholder PlaceholderWithDefault Const Identity IdentityN StopGradient PreventGradient Snapshot
    Switch Merge Enter Exit NextIteration LoopCond ControlTrigger Assert EnsureShape CheckNumerics _Arg
    _Retval EmptyTensorList TensorListReserve TensorListFromTensor TensorListGetItem TensorListSetItem
    TensorListStack TensorListPushBack TensorListPopBack TensorListLength TensorListElementShape
    TensorListConcatV2 TensorListGather TensorListScatterV2 TensorListResize TensorArrayV3
    TensorArrayWriteV3 TensorArrayReadV3 TensorArrayGatherV3 TensorArrayScatterV3 TensorArraySizeV3
    TensorArrayCloseV3 TensorArrayConcatV3
""")

ELEMENTWISE = _names("""
    Abs Acos Acosh Add AddN AddV2 Angle ApproximateEqual Asin Asinh Atan Atan2 Atanh BesselI0e BesselI1e
    BiasAdd BitwiseAnd BitwiseOr BitwiseXor Cast Ceil ClipByValue Complex ComplexAbs Conj Cos Cosh Digamma Div
    DivNoNan Elu Equal Erf Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual Imag Inv Invert
    IsFinite IsInf IsNan LeakyRelu LeftShift Less LessEqual Lgamma Log Log1p LogSoftmax LogicalAnd LogicalNot
    LogicalOr Maximum Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual OnesLike Pow Real RealDiv
    Reciprocal Relu Relu6 RightShift Rint Round Rsqrt Select SelectV2 Selu Sigmoid Sign Sin Sinh Softmax
    Softplus Softsign Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlog1py Xlogy
    ZerosLike Zeta Polygamma Igamma Igammac Betainc Bitcast PopulationCount
""")

SHAPES = _names("""
    BatchToSpaceND BroadcastArgs BroadcastTo BroadcastGradientArgs Concat ConcatOffset ConcatV2 DepthToSpace
    Diag DiagPart
    DynamicPartition DynamicStitch Empty ExpandDims ExtractImagePatches Fill Gather GatherNd GatherV2
    InvertPermutation LinSpace MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
    MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad OneHot Pack Pad PadV2
    ParallelConcat ParallelDynamicStitch Range Rank Reshape ResourceStridedSliceAssign Reverse ReverseSequence
    ReverseV2 Roll ScatterNd Shape ShapeN Size Slice SpaceToBatchND SpaceToDepth Split SplitV
    Squeeze StridedSlice StridedSliceGrad TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub
    TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose Unpack UnravelIndex Where LowerBound
    UpperBound
""")

REDUCTIONS = _names("""
    All Any ArgMax ArgMin Bincount Bucketize Cumprod Cumsum CumulativeLogsumexp DenseBincount
    EuclideanNorm HistogramFixedWidth InTopK InTopKV2 L2Loss Max Mean Min NthElement Prod SegmentMax
    SegmentMean SegmentMin SegmentProd SegmentSum Sum TopK TopKV2 Unique UniqueV2 UniqueWithCounts
    UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum
""")

LINEAR_ALGEBRA = _names("""
    BatchMatMul BatchMatMulV2 BatchMatMulV3 Cholesky Cross Einsum MatMul MatrixDeterminant MatrixInverse
    MatrixSolve MatrixTriangularSolve Qr SelfAdjointEigV2 Svd XlaDot XlaDotV2 XlaEinsum FFT FFT2D IFFT IFFT2D
    RFFT RFFT2D IRFFT IRFFT2D
""")

NETWORKS = _names("""
    AvgPool AvgPool3D Conv Conv2D Conv2DBackpropFilter Conv2DBackpropInput Conv3D Conv3DBackpropInputV2
    CropAndResize CTCGreedyDecoder
    DepthwiseConv2dNative Dilation2D FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
    FakeQuantWithMinMaxVarsPerChannel FractionalAvgPool FractionalMaxPool FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 LRN MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax NonMaxSuppression NonMaxSuppressionV2
    NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 CombinedNonMaxSuppression
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 ResizeArea ResizeBicubic
    ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate ImageProjectiveTransformV2
    ImageProjectiveTransformV3 RGBToHSV HSVToRGB AdjustContrastv2 AdjustHue AdjustSaturation
""")

RANDOM = _names("""
    Multinomial RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt StatelessMultinomial
    StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformFullInt
    StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2
    StatelessRandomUniformV2 StatelessTruncatedNormal StatelessTruncatedNormalV2 TruncatedNormal
""")

# Gradients: Keras 2 stores the training function of a compiled model beside the one that predicts.
GRADIENTS = _names("""
    AvgPoolGrad BiasAddGrad DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput EluGrad
    FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 LeakyReluGrad MaxPoolGrad MirrorPadGrad
    Relu6Grad ReluGrad ResizeBilinearGrad ResizeNearestNeighborGrad RsqrtGrad SeluGrad SigmoidGrad
    SoftplusGrad SoftsignGrad SqrtGrad TanhGrad SoftmaxCrossEntropyWithLogits
    SparseSoftmaxCrossEntropyWithLogits ResourceApplyAdam ResourceApplyGradientDescent ResourceApplyMomentum
    ResourceApplyKerasMomentum ResourceApplyRMSProp ResourceApplyAdagradV2 InvGrad
""")

COMPUTE = (
    CALLS
    | VARIABLES
    | CONTROL
    | ELEMENTWISE
    | SHAPES
    | REDUCTIONS
    | LINEAR_ALGEBRA
    | NETWORKS
    | RANDOM
    | GRADIENTS
)
