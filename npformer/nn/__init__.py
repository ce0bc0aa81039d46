"""Building models: Module and Parameter, the layers, and `functional`, `init` and `utils` beside
them."""

# ruff: noqa: F401, I001
from . import functional, init, utils
from .layers.activation import (CELU as CELU, ELU as ELU, GELU as GELU, GLU as GLU, SELU as SELU,
                                CosineSimilarity as CosineSimilarity, Hardtanh as Hardtanh,
                                LeakyReLU as LeakyReLU, LogSigmoid as LogSigmoid,
                                LogSoftmax as LogSoftmax, Mish as Mish, ReLU as ReLU,
                                ReLU6 as ReLU6, Sigmoid as Sigmoid, SiLU as SiLU,
                                Softmax as Softmax, Softmin as Softmin, Softplus as Softplus,
                                Softsign as Softsign, Tanh as Tanh, Tanhshrink as Tanhshrink)
from .layers.basic import (Bilinear as Bilinear, Dropout as Dropout, Embedding as Embedding,
                           Flatten as Flatten, Linear as Linear, Unflatten as Unflatten)
from .layers.containers import (Identity as Identity, ModuleDict as ModuleDict,
                                ModuleList as ModuleList, ParameterList as ParameterList,
                                Sequential as Sequential)
from .layers.conv import Conv1d as Conv1d, Conv2d as Conv2d
from .layers.loss import (BCELoss as BCELoss, BCEWithLogitsLoss as BCEWithLogitsLoss,
                          CrossEntropyLoss as CrossEntropyLoss, HuberLoss as HuberLoss,
                          KLDivLoss as KLDivLoss, L1Loss as L1Loss, MSELoss as MSELoss,
                          NLLLoss as NLLLoss, SmoothL1Loss as SmoothL1Loss)
from .layers.normalization import (BatchNorm1d as BatchNorm1d, LayerNorm as LayerNorm,
                                   RMSNorm as RMSNorm)
from .module import Module as Module
from .multihead import MultiheadAttention as MultiheadAttention
from .parameter import Parameter as Parameter
from .transformer import (Transformer as Transformer, TransformerDecoder as TransformerDecoder,
                          TransformerDecoderLayer as TransformerDecoderLayer,
                          TransformerEncoder as TransformerEncoder,
                          TransformerEncoderLayer as TransformerEncoderLayer)
