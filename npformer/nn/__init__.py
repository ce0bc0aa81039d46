"""Building models: Module and Parameter, the layers, and `functional`, `init` and `utils` beside them."""

# ruff: noqa: F401, I001
from . import functional, init, utils
from .layers.activation import (CELU, ELU, GELU, GLU, SELU, CosineSimilarity, Hardtanh, LeakyReLU, LogSigmoid,
                                LogSoftmax, Mish, ReLU, ReLU6, Sigmoid, SiLU, Softmax, Softmin, Softplus, Softsign,
                                Tanh, Tanhshrink)
from .layers.basic import Bilinear, Dropout, Embedding, Flatten, Linear, Unflatten
from .layers.containers import Identity, ModuleDict, ModuleList, ParameterList, Sequential
from .layers.conv import Conv1d, Conv2d
from .layers.loss import (BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss,
                          SmoothL1Loss)
from .layers.normalization import BatchNorm1d, LayerNorm, RMSNorm
from .module import Module
from .multihead import MultiheadAttention
from .parameter import Parameter
from .transformer import (Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
                          TransformerEncoderLayer)
